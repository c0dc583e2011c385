-- Mails of which it is not known whether the relay has accepted them.
-- depends: 0058.certificate_issuer

-- unconfirmed_attempts: the numbers of those attempts since the delivery was requested. The state remains one that the
-- former version knows: 'deferred', or 'refused' once the mail is not sent again. not_before: an earlier repetition
-- could be a second mail.
ALTER TABLE deliveries
    ADD COLUMN unconfirmed_attempts integer[] NOT NULL DEFAULT '{}',
    ADD COLUMN not_before           timestamptz;

-- A dead job has failed only because some of its mails are unconfirmed.
ALTER TABLE jobs ADD COLUMN unconfirmed boolean NOT NULL DEFAULT FALSE;

-- The event says so; otherwise it is that of voxrec_mail_failed.
CREATE FUNCTION voxrec_mail_ended() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    number integer;
BEGIN
    UPDATE recordings SET event_sequence = event_sequence + 1 WHERE id = NEW.recording_id
    RETURNING event_sequence INTO number;
    PERFORM voxrec_webhook(
        'delivery.failed', clock_timestamp(), profile_id, id, call_id, number,
        jsonb_build_object(
            'channel', 'mail', 'deliveryId', NULL, 'webhookId', NULL, 'event', 'recording.completed',
            'recordingId', id, 'callId', call_id, 'profileId', profile_id, 'attempts', NEW.attempts,
            'unconfirmed', NEW.unconfirmed),
        FALSE, NULL)
    FROM recordings WHERE id = NEW.recording_id;
    RETURN NULL;
END
$$;
DROP TRIGGER jobs_mail_failed ON jobs;
CREATE TRIGGER jobs_mail_ended AFTER UPDATE OF dead ON jobs
    FOR EACH ROW WHEN (NEW.kind = 'mail' AND NEW.dead AND NOT OLD.dead) EXECUTE FUNCTION voxrec_mail_ended();
DROP FUNCTION voxrec_mail_failed();
