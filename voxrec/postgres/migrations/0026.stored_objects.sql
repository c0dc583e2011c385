-- Audio in S3: where it is, jobs that upload it, and the buckets of Profiles.
-- depends: 0034.rtp_statistics

-- The object with the audio; NULL: only the local archive has it. While "stored_at" in it is null, the upload is not
-- confirmed, but an object may exist.
ALTER TABLE recordings ADD COLUMN stored_object jsonb;
-- NULL: as in the settings.
ALTER TABLE profiles
    ADD COLUMN archive_bucket text,
    ADD COLUMN archive_prefix text;
-- target: the bucket of the Profile; NULL: that of the settings. stored_object: of a deleted Recording.
ALTER TABLE jobs
    ADD COLUMN target text,
    ADD COLUMN stored_object jsonb;
CREATE INDEX jobs_uploads ON jobs (due_at, created_at) WHERE kind = 'upload' AND done_at IS NULL AND NOT dead;
CREATE INDEX recordings_stored_objects ON recordings ((stored_object ->> 'key')) WHERE stored_object IS NOT NULL;

-- The job that uploads a Recording also mirrors its legal hold and retention.
CREATE FUNCTION voxrec_lock_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO jobs (kind, recording_id, target)
    SELECT 'upload', NEW.id, (SELECT archive_bucket FROM profiles WHERE id = NEW.profile_id)
    ON CONFLICT (recording_id, kind) DO UPDATE
    SET due_at = clock_timestamp(), leased_until = NULL, dead = FALSE, done_at = NULL, attempts = 0;
    RETURN NULL;
END
$$;
CREATE TRIGGER recordings_lock_changed AFTER UPDATE OF legal_hold, expires_at ON recordings
    FOR EACH ROW WHEN (NEW.stored_object IS NOT NULL
                       AND (NEW.legal_hold <> OLD.legal_hold OR NEW.expires_at IS DISTINCT FROM OLD.expires_at))
    EXECUTE FUNCTION voxrec_lock_changed();
