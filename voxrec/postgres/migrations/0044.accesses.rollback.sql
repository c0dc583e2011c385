DELETE FROM audit WHERE access IS NOT NULL AND kind = 'recording audio';
ALTER TABLE audit DROP COLUMN access;
