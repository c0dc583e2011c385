DROP TRIGGER recordings_erase_response ON recordings;
DROP TRIGGER profiles_erase_response ON profiles;
DROP TRIGGER prompts_erase_response ON prompts;
DROP FUNCTION voxrec_erase_response;
DROP INDEX idempotency_resource;
CREATE OR REPLACE FUNCTION voxrec_event(type text, happened_at timestamptz, profile_id uuid, data jsonb)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(130221133362789);
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
        'sha256', told.sha256, 'hangupCause', told.hangup_cause));
    RETURN NULL;
END
$$;
DROP INDEX events_of_call;
DROP FUNCTION voxrec_without_parties;
DROP INDEX audit_target;
ALTER TABLE audit DROP COLUMN reason;
