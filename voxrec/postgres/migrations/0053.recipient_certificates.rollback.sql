ALTER TABLE profiles DROP COLUMN mail_encryption;
DROP TABLE recipient_certificates;
