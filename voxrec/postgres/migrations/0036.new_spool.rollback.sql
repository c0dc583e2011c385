ALTER TABLE nodes DROP COLUMN new_spool_since;
