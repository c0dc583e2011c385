ALTER TABLE profiles DROP COLUMN mail_template;
