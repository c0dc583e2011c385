-- Several nodes on one database: what belongs to the disk of a node has its name.
-- depends: 0017.erase_changes

-- Null: imported audio, or recorded by an earlier version.
ALTER TABLE recordings ADD COLUMN node text;
-- Null: any node can run the job.
ALTER TABLE jobs ADD COLUMN node text;

-- instance: the process that has the name now. spool_id: the file in the recording directory of the node, by which
-- another disk is recognized. status: what the node reports about itself.
CREATE TABLE nodes (
    name         text PRIMARY KEY,
    instance     uuid,
    spool_id     uuid,
    heartbeat_at timestamptz NOT NULL DEFAULT now(),
    draining     boolean NOT NULL DEFAULT FALSE,
    lost_at      timestamptz,
    status       jsonb NOT NULL DEFAULT '{}'
);

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
