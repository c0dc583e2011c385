-- Nothing personal remains of a deleted Recording or Profile in events and in stored responses.
-- depends: 0004.audit 0006.idempotency 0008.events 0012.jobs

-- Why a rule or a user deleted something: together with target_id, created_at and who, it is all that remains.
ALTER TABLE audit ADD COLUMN reason text;
CREATE INDEX audit_target ON audit (target_id, created_at DESC, id DESC) WHERE target_id IS NOT NULL;

-- The Call without the parties, for an event that outlives the Recording of the call.
CREATE FUNCTION voxrec_without_parties(data jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT data || '{"from": null, "fromName": null, "to": null, "remoteSipUri": null}'
$$;

CREATE INDEX events_of_call ON events ((data ->> 'id')) WHERE type LIKE 'call.%';

-- The last events of a call may be inserted after its Recording was deleted. Whichever of the two transactions has the
-- lock second sees what the other has committed, since each statement of the function has a snapshot of its own.
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

-- The parties are left out, since an event outlives a Recording that is deleted for privacy; the events of its call lose
-- them with the deletion.
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

-- The response to the request that created a resource contains the resource; Location ends with its id. The key remains,
-- so that a late repetition of the request does not create the resource again.
CREATE INDEX idempotency_resource ON idempotency (right(headers ->> 'Location', 36));

CREATE FUNCTION voxrec_erase_response() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE idempotency SET fingerprint = '', headers = '{}', body = NULL
    WHERE right(headers ->> 'Location', 36) = OLD.id::text;
    RETURN NULL;
END
$$;

CREATE TRIGGER recordings_erase_response AFTER DELETE ON recordings
    FOR EACH ROW EXECUTE FUNCTION voxrec_erase_response();
CREATE TRIGGER profiles_erase_response AFTER DELETE ON profiles
    FOR EACH ROW EXECUTE FUNCTION voxrec_erase_response();
CREATE TRIGGER prompts_erase_response AFTER DELETE ON prompts
    FOR EACH ROW EXECUTE FUNCTION voxrec_erase_response();

-- What earlier versions left of deleted Recordings.
UPDATE events SET data = voxrec_without_parties(data)
    WHERE type LIKE 'call.%' AND EXISTS (
        SELECT FROM jobs WHERE recording_id = (data ->> 'recordingId')::uuid AND kind = 'erase');
UPDATE idempotency SET fingerprint = '', headers = '{}', body = NULL
    WHERE right(headers ->> 'Location', 36) IN (SELECT recording_id::text FROM jobs WHERE kind = 'erase');
UPDATE jobs SET last_error = NULL
    WHERE last_error IS NOT NULL AND recording_id IN (SELECT recording_id FROM jobs WHERE kind = 'erase');
