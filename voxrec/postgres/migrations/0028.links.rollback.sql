ALTER TABLE audit DROP COLUMN user_agent;
DROP TABLE link_uses;
DROP TABLE links;
DROP TABLE link_keys;
