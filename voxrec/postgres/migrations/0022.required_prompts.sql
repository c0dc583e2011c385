-- Whether the announcement that a Profile requires was played completely. NULL: it requires none.
-- depends: 0017.erase_changes

ALTER TABLE recordings ADD COLUMN prompt_played boolean;
