-- Events of Recordings cost less, above all without webhooks: one function instead of three, and no work for webhooks that
-- do not exist.
-- depends: 0043.sorting 0049.upload_queue

-- The statements of voxrec count the messages of a Recording themselves; the triggers do it for changes by other statements
-- and by earlier versions.
DROP TRIGGER recordings_count_new ON recordings;
DROP TRIGGER recordings_count_moved ON recordings;
CREATE TRIGGER recordings_count_new BEFORE INSERT ON recordings
    FOR EACH ROW WHEN (NEW.event_sequence = 0 AND NEW.state NOT IN ('pending', 'processing'))
    EXECUTE FUNCTION voxrec_count_event();
CREATE TRIGGER recordings_count_moved BEFORE UPDATE OF state ON recordings
    FOR EACH ROW WHEN (NEW.state <> OLD.state AND NEW.event_sequence = OLD.event_sequence
                       AND NEW.state NOT IN ('pending', 'processing'))
    EXECUTE FUNCTION voxrec_count_event();

-- A new Recording, or a new state. The lock is that of voxrec_event, and is held when the row is inserted. The time of the
-- message is that of the change, which the journal may store later.
CREATE OR REPLACE FUNCTION voxrec_recording_event() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    event text := CASE WHEN NEW.state <> 'recording' THEN 'recording.' || NEW.state
                       WHEN TG_OP = 'UPDATE' AND OLD.state = 'paused' THEN 'recording.resumed'
                       ELSE 'recording.started' END;
    summary jsonb;
    has_webhooks boolean;
BEGIN
    PERFORM pg_advisory_xact_lock(130221133362789), pg_notify('voxrec_events', '');
    INSERT INTO events (type, at, profile_id, data, stored_at)
    VALUES (event, clock_timestamp(), NEW.profile_id, jsonb_build_object(
        'id', NEW.id, 'profileId', NEW.profile_id, 'callId', NEW.call_id, 'state', NEW.state,
        'startedAt', NEW.started_at, 'endedAt', NEW.ended_at, 'duration', NEW.duration, 'size', NEW.size,
        'sha256', NEW.sha256, 'hangupCause', NEW.hangup_cause, 'node', NEW.node), clock_timestamp())
    RETURNING data, EXISTS (SELECT FROM webhooks WHERE enabled) INTO summary, has_webhooks;
    IF has_webhooks AND NEW.state NOT IN ('pending', 'processing') THEN
        PERFORM voxrec_webhook(
            event, NEW.updated_at, NEW.profile_id, NEW.id, NEW.call_id, NEW.event_sequence, summary, FALSE, NULL);
    END IF;
    RETURN NULL;
END
$$;

-- Nothing personal remains of a deleted Recording. voxrec.expired is set by the transaction that applies the retention
-- period.
CREATE FUNCTION voxrec_recording_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    summary jsonb := jsonb_build_object(
        'id', OLD.id, 'profileId', OLD.profile_id, 'callId', OLD.call_id, 'state', OLD.state,
        'startedAt', OLD.started_at, 'endedAt', OLD.ended_at, 'duration', OLD.duration, 'size', OLD.size,
        'sha256', OLD.sha256, 'hangupCause', OLD.hangup_cause, 'node', OLD.node);
BEGIN
    PERFORM voxrec_event('recording.deleted', clock_timestamp(), OLD.profile_id, summary);
    IF OLD.call_id IS NOT NULL THEN
        UPDATE events SET data = voxrec_without_parties(data)
        WHERE type LIKE 'call.%' AND data ->> 'id' = OLD.call_id::text AND profile_id = OLD.profile_id;
        UPDATE webhook_messages SET data = voxrec_without_parties(data)
        WHERE call_id = OLD.call_id AND type LIKE 'call.%' AND profile_id = OLD.profile_id;
    END IF;
    UPDATE webhook_messages SET erased = TRUE
    WHERE recording_id = OLD.id OR (call_id = OLD.call_id AND profile_id = OLD.profile_id);
    UPDATE webhook_attempts SET reply = '' FROM webhook_deliveries, webhook_messages
    WHERE delivery_id = webhook_deliveries.id AND message_id = webhook_messages.id
      AND (recording_id = OLD.id OR (call_id = OLD.call_id AND profile_id = OLD.profile_id));
    UPDATE webhook_deliveries SET last_error = '' FROM webhook_messages
    WHERE message_id = webhook_messages.id AND last_error IS NOT NULL
      AND (recording_id = OLD.id OR (call_id = OLD.call_id AND profile_id = OLD.profile_id));
    PERFORM voxrec_webhook(
        CASE current_setting('voxrec.expired', TRUE) WHEN 'on' THEN 'recording.expired' ELSE 'recording.deleted' END,
        clock_timestamp(), OLD.profile_id, OLD.id, OLD.call_id, OLD.event_sequence + 1, summary, TRUE, NULL);
    RETURN NULL;
END
$$;
DROP TRIGGER recordings_event_gone ON recordings;
CREATE CONSTRAINT TRIGGER recordings_event_gone AFTER DELETE ON recordings
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION voxrec_recording_deleted();
