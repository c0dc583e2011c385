ALTER TABLE profiles DROP COLUMN record_prompt_on_transfer;
