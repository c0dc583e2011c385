ALTER TABLE recordings DROP COLUMN prompt_played;
