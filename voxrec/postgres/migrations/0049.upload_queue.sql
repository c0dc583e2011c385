-- Uploads: fair to each bucket at a cost that does not depend on the length of the queue, and one at a time of a Recording.
-- depends: 0039.notes

-- The process that holds the lease (nodes.instance). Its successor, which knows that it has ended, does not wait until the
-- lease expires. NULL: claimed by an earlier version, or by a process that is not the active one of its node.
ALTER TABLE jobs ADD COLUMN leased_by uuid;
ALTER TABLE webhook_deliveries ADD COLUMN leased_by uuid;

-- The claim looks at the first jobs of each bucket, whatever the others have to do.
CREATE INDEX jobs_uploads_of_bucket ON jobs (coalesce(target, ''), due_at, created_at)
    WHERE kind = 'upload' AND done_at IS NULL AND NOT dead;
CREATE INDEX jobs_uploads_running ON jobs (leased_until)
    WHERE kind = 'upload' AND done_at IS NULL AND NOT dead AND leased_until IS NOT NULL;
DROP INDEX jobs_uploads;

-- A job that runs keeps its lease: otherwise a second upload of the same object would begin, and abort the first. Since
-- due_at differs from that of the claim, the job is not done when the upload ends, but due again.
CREATE OR REPLACE FUNCTION voxrec_lock_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO jobs (kind, recording_id, target)
    SELECT 'upload', NEW.id, (SELECT archive_bucket FROM profiles WHERE id = NEW.profile_id)
    ON CONFLICT (recording_id, kind) DO UPDATE
    SET due_at = clock_timestamp(), dead = FALSE, done_at = NULL, attempts = 0,
        leased_until = CASE WHEN jobs.done_at IS NULL AND jobs.leased_until > clock_timestamp()
                            THEN jobs.leased_until END;
    RETURN NULL;
END
$$;
