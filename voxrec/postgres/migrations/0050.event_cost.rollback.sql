DROP TRIGGER recordings_event_gone ON recordings;
DROP FUNCTION voxrec_recording_deleted;
DROP TRIGGER recordings_count_new ON recordings;
DROP TRIGGER recordings_count_moved ON recordings;
CREATE TRIGGER recordings_count_new BEFORE INSERT ON recordings
    FOR EACH ROW WHEN (NEW.state NOT IN ('pending', 'processing')) EXECUTE FUNCTION voxrec_count_event();
CREATE TRIGGER recordings_count_moved BEFORE UPDATE OF state ON recordings
    FOR EACH ROW WHEN (NEW.state <> OLD.state AND NEW.state NOT IN ('pending', 'processing'))
    EXECUTE FUNCTION voxrec_count_event();
CREATE OR REPLACE FUNCTION voxrec_recording_event() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    told recordings%ROWTYPE;
    word text;
    summary jsonb;
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
    summary := jsonb_build_object(
        'id', told.id, 'profileId', told.profile_id, 'callId', told.call_id, 'state', told.state,
        'startedAt', told.started_at, 'endedAt', told.ended_at, 'duration', told.duration, 'size', told.size,
        'sha256', told.sha256, 'hangupCause', told.hangup_cause, 'node', told.node);
    PERFORM voxrec_event('recording.' || word, clock_timestamp(), told.profile_id, summary);
    IF TG_OP = 'DELETE' THEN
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
    ELSIF NEW.state NOT IN ('pending', 'processing') THEN
        PERFORM voxrec_webhook(
            'recording.' || word, NEW.updated_at, NEW.profile_id, NEW.id, NEW.call_id, NEW.event_sequence, summary,
            FALSE, NULL);
    END IF;
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER recordings_event_gone AFTER DELETE ON recordings
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION voxrec_recording_event();
