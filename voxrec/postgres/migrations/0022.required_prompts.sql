-- Whether the announcement that a Profile requires was played completely. NULL: it requires none.
-- depends: 0020.webhooks

ALTER TABLE recordings ADD COLUMN prompt_played boolean;
