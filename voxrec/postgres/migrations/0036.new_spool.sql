-- When a node began to run with another disk: what it has recorded since is not on the disk that it had before.
-- depends: 0026.stored_objects

-- By the clock of the node, as the creation of Recordings. Null: it runs with the disk of spool_id.
ALTER TABLE nodes ADD COLUMN new_spool_since timestamptz;
