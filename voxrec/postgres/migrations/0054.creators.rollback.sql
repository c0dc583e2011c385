ALTER TABLE exports DROP COLUMN user_id, DROP COLUMN token_id;
