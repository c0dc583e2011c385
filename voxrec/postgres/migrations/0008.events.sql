-- Events of calls and Recordings, in order.
-- depends: 0001.initial

-- "at" is the time of the event. "stored_at" increases with the id; the deletion of old events relies on that.
CREATE TABLE events (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    type       text NOT NULL,
    at         timestamptz NOT NULL,
    profile_id uuid,
    data       jsonb NOT NULL,
    stored_at  timestamptz NOT NULL
);

CREATE INDEX events_stored ON events (stored_at);

-- An id is assigned when a row is inserted, but the row becomes visible when its transaction commits. Without the lock
-- a reader could read id 8, continue from there, and miss id 7, whose transaction commits later. With the lock, ids
-- become visible in order, since the next one is assigned only after the previous transaction has ended. This costs
-- little, since transactions with a NOTIFY are serialised at their commit anyway.
CREATE FUNCTION voxrec_event(type text, happened_at timestamptz, profile_id uuid, data jsonb)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(130221133362789);
    INSERT INTO events (type, at, profile_id, data, stored_at) VALUES ($1, $2, $3, $4, clock_timestamp());
    PERFORM pg_notify('voxrec_events', '');
END
$$;

-- The numbers of caller and callee are left out, since an event outlives a Recording that is deleted for privacy.
CREATE FUNCTION voxrec_recording_event() RETURNS trigger LANGUAGE plpgsql AS $$
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

-- Deferred to the commit, so that the lock is held only briefly.
CREATE CONSTRAINT TRIGGER recordings_event_new AFTER INSERT ON recordings
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION voxrec_recording_event();
CREATE CONSTRAINT TRIGGER recordings_event_moved AFTER UPDATE OF state ON recordings
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.state <> OLD.state)
    EXECUTE FUNCTION voxrec_recording_event();
CREATE CONSTRAINT TRIGGER recordings_event_gone AFTER DELETE ON recordings
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION voxrec_recording_event();
