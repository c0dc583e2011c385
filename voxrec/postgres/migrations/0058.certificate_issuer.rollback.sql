ALTER TABLE recipient_certificates DROP COLUMN issuer, DROP COLUMN serial_number, DROP COLUMN starts_at;
