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
    IF TG_OP = 'DELETE' AND OLD.call_id IS NOT NULL THEN
        UPDATE events SET data = voxrec_without_parties(data)
        WHERE type LIKE 'call.%' AND data ->> 'id' = OLD.call_id::text AND profile_id = OLD.profile_id;
    END IF;
    RETURN NULL;
END
$$;
DROP TABLE nodes;
DELETE FROM jobs WHERE kind = 'erase-legs';
ALTER TABLE jobs DROP COLUMN node;
ALTER TABLE recordings DROP COLUMN node;
