DROP TRIGGER recordings_lock_changed ON recordings;
DROP FUNCTION voxrec_lock_changed;
DELETE FROM jobs WHERE kind = 'upload';
ALTER TABLE jobs DROP COLUMN target, DROP COLUMN stored_object;
ALTER TABLE profiles DROP COLUMN archive_bucket, DROP COLUMN archive_prefix;
ALTER TABLE recordings DROP COLUMN stored_object;
