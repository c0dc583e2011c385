DROP TRIGGER deliveries_attempt_new ON deliveries;
DROP TRIGGER deliveries_attempt_more ON deliveries;
DROP FUNCTION voxrec_mail_attempt;
DROP TABLE mail_attempts;
ALTER TABLE deliveries DROP COLUMN id, DROP COLUMN requested, DROP COLUMN created_at;
DROP TRIGGER profiles_webhook_new ON profiles;
DROP TRIGGER profiles_webhook_changed ON profiles;
DROP TRIGGER jobs_mail_failed ON jobs;
DROP TRIGGER recordings_count_new ON recordings;
DROP TRIGGER recordings_count_moved ON recordings;
CREATE OR REPLACE FUNCTION voxrec_event(type text, happened_at timestamptz, profile_id uuid, data jsonb)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(130221133362789);
    IF $1 LIKE 'call.%' AND EXISTS (
        SELECT FROM jobs WHERE recording_id = ($4 ->> 'recordingId')::uuid AND kind = 'erase'
    ) THEN
        $4 := voxrec_without_parties($4);
    END IF;
    INSERT INTO events (type, at, profile_id, data, stored_at) VALUES ($1, $2, $3, $4, clock_timestamp());
    PERFORM pg_notify('voxrec_events', '');
END
$$;
CREATE OR REPLACE FUNCTION voxrec_recording_event() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    told recordings%ROWTYPE;
    word text;
BEGIN
    IF TG_OP = 'DELETE' THEN
        told := OLD;
        word := 'deleted';
    ELSE
        told := NEW;
        word := CASE WHEN NEW.state <> 'recording' THEN NEW.state
                     WHEN TG_OP = 'UPDATE' AND OLD.state = 'paused' THEN 'resumed'
                     ELSE 'started' END;
    END IF;
    PERFORM voxrec_event('recording.' || word, clock_timestamp(), told.profile_id, jsonb_build_object(
        'id', told.id, 'profileId', told.profile_id, 'callId', told.call_id, 'state', told.state,
        'startedAt', told.started_at, 'endedAt', told.ended_at, 'duration', told.duration, 'size', told.size,
        'sha256', told.sha256, 'hangupCause', told.hangup_cause, 'node', told.node));
    IF TG_OP = 'DELETE' AND OLD.call_id IS NOT NULL THEN
        UPDATE events SET data = voxrec_without_parties(data)
        WHERE type LIKE 'call.%' AND data ->> 'id' = OLD.call_id::text AND profile_id = OLD.profile_id;
    END IF;
    RETURN NULL;
END
$$;
DROP TABLE webhook_attempts, webhook_deliveries, webhook_messages, webhooks;
DROP FUNCTION voxrec_profile_webhook, voxrec_webhook_switched, voxrec_webhook_failed, voxrec_mail_failed,
    voxrec_delivery_failed, voxrec_webhook, voxrec_count_event;
ALTER TABLE recordings DROP COLUMN event_sequence;
