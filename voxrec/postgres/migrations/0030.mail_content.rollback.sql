ALTER TABLE profiles DROP COLUMN time_zone;
ALTER TABLE profiles DROP COLUMN mail_content;
