CREATE FUNCTION voxrec_mail_failed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM voxrec_delivery_failed(
        'mail', NULL, NULL, NEW.recording_id, profile_id, call_id, 'recording.completed', NEW.attempts)
    FROM recordings WHERE id = NEW.recording_id;
    RETURN NULL;
END
$$;
DROP TRIGGER jobs_mail_ended ON jobs;
CREATE TRIGGER jobs_mail_failed AFTER UPDATE OF dead ON jobs
    FOR EACH ROW WHEN (NEW.kind = 'mail' AND NEW.dead AND NOT OLD.dead) EXECUTE FUNCTION voxrec_mail_failed();
DROP FUNCTION voxrec_mail_ended();
ALTER TABLE jobs DROP COLUMN unconfirmed;
ALTER TABLE deliveries DROP COLUMN unconfirmed_attempts, DROP COLUMN not_before;
