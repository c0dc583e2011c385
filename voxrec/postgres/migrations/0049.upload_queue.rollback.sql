CREATE OR REPLACE FUNCTION voxrec_lock_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO jobs (kind, recording_id, target)
    SELECT 'upload', NEW.id, (SELECT archive_bucket FROM profiles WHERE id = NEW.profile_id)
    ON CONFLICT (recording_id, kind) DO UPDATE
    SET due_at = clock_timestamp(), leased_until = NULL, dead = FALSE, done_at = NULL, attempts = 0;
    RETURN NULL;
END
$$;
CREATE INDEX jobs_uploads ON jobs (due_at, created_at) WHERE kind = 'upload' AND done_at IS NULL AND NOT dead;
DROP INDEX jobs_uploads_of_bucket;
DROP INDEX jobs_uploads_running;
ALTER TABLE jobs DROP COLUMN leased_by;
ALTER TABLE webhook_deliveries DROP COLUMN leased_by;
