-- Webhooks: endpoints, messages, their deliveries, and the attempts of mail and webhooks.
-- depends: 0018.nodes

-- profile_id NULL: events of all Profiles. of_profile: the endpoint follows the webhook_url of its Profile. The secret
-- has 244 random bits; it is stored as text, since signing needs it.
CREATE TABLE webhooks (
    id              uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    profile_id      uuid REFERENCES profiles ON DELETE CASCADE,
    url             text NOT NULL,
    description     text,
    events          text[] NOT NULL DEFAULT '{}',
    headers         jsonb NOT NULL DEFAULT '{}',
    enabled         boolean NOT NULL DEFAULT TRUE,
    disabled_reason text,
    failing_since   timestamptz,
    of_profile      boolean NOT NULL DEFAULT FALSE,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    secret          text NOT NULL DEFAULT
        'whsec_' || encode(sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())), 'base64'),
    previous_secret            text,
    previous_secret_expires_at timestamptz,
    CHECK (profile_id IS NOT NULL OR NOT of_profile)
);
CREATE INDEX webhooks_newest_first ON webhooks (created_at DESC, id DESC);
CREATE INDEX webhooks_profile ON webhooks (profile_id, created_at DESC, id DESC);
CREATE UNIQUE INDEX webhooks_of_profile ON webhooks (profile_id) WHERE of_profile;

-- A message is inserted in the transaction of the event, if an endpoint wants it. position orders messages. data is the
-- Call, or a summary of the Recording without its parties, which are read when the message is sent: they are erased
-- with the Recording. erased: the Recording was deleted, and replies of receivers are not stored any more.
CREATE TABLE webhook_messages (
    id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    position     bigint GENERATED ALWAYS AS IDENTITY,
    type         text NOT NULL,
    at           timestamptz NOT NULL,
    profile_id   uuid,
    recording_id uuid,
    call_id      uuid,
    sequence     integer,
    data         jsonb NOT NULL,
    erased       boolean NOT NULL DEFAULT FALSE,
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX webhook_messages_recording ON webhook_messages (recording_id) WHERE recording_id IS NOT NULL;
CREATE INDEX webhook_messages_call ON webhook_messages (call_id) WHERE call_id IS NOT NULL;
CREATE INDEX webhook_messages_oldest_first ON webhook_messages (created_at);

-- The queue. subject is the call or, if there is none, the Recording: its first attempts are made in order. claims
-- identifies the holder of a lease, as in jobs. suspended: the endpoint is disabled.
CREATE TABLE webhook_deliveries (
    id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    message_id   uuid NOT NULL REFERENCES webhook_messages ON DELETE CASCADE,
    webhook_id   uuid NOT NULL REFERENCES webhooks ON DELETE CASCADE,
    subject      uuid,
    position     bigint NOT NULL,
    state        text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'suspended', 'delivered', 'failed')),
    attempts     integer NOT NULL DEFAULT 0,
    claims       integer NOT NULL DEFAULT 0,
    due_at       timestamptz NOT NULL DEFAULT now(),
    leased_until timestamptz,
    last_error   text,
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (message_id, webhook_id)
);
CREATE INDEX webhook_deliveries_of_target ON webhook_deliveries (webhook_id, due_at, position) WHERE state = 'pending';
CREATE INDEX webhook_deliveries_of_subject ON webhook_deliveries (webhook_id, subject, position)
    WHERE state = 'pending' AND last_error IS NULL;
CREATE INDEX webhook_deliveries_running ON webhook_deliveries (webhook_id, leased_until)
    WHERE state = 'pending' AND leased_until IS NOT NULL;
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (due_at) WHERE state = 'pending';
CREATE INDEX webhook_deliveries_unfinished ON webhook_deliveries (webhook_id) WHERE state IN ('pending', 'suspended');

-- status is that of HTTP, NULL without a response; reply is the beginning of the response, or the error.
CREATE TABLE webhook_attempts (
    id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    delivery_id uuid NOT NULL REFERENCES webhook_deliveries ON DELETE CASCADE,
    webhook_id  uuid NOT NULL,
    created_at  timestamptz NOT NULL,
    seconds     double precision NOT NULL,
    status      integer,
    reply       text NOT NULL
);
CREATE INDEX webhook_attempts_delivery ON webhook_attempts (delivery_id, created_at);
CREATE INDEX webhook_attempts_newest_first ON webhook_attempts (webhook_id, created_at DESC, id DESC);

-- The number of webhook messages about a Recording; the last one has this sequence number.
ALTER TABLE recordings ADD COLUMN event_sequence integer NOT NULL DEFAULT 0;
CREATE FUNCTION voxrec_count_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.event_sequence := coalesce(NEW.event_sequence, 0) + 1;
    RETURN NEW;
END
$$;
CREATE TRIGGER recordings_count_new BEFORE INSERT ON recordings
    FOR EACH ROW WHEN (NEW.state NOT IN ('pending', 'processing')) EXECUTE FUNCTION voxrec_count_event();
CREATE TRIGGER recordings_count_moved BEFORE UPDATE OF state ON recordings
    FOR EACH ROW WHEN (NEW.state <> OLD.state AND NEW.state NOT IN ('pending', 'processing'))
    EXECUTE FUNCTION voxrec_count_event();

CREATE FUNCTION voxrec_webhook(
    event_type text, happened_at timestamptz, of_profile_id uuid, of_recording_id uuid, of_call_id uuid, number integer,
    content jsonb, is_erased boolean, failed_webhook_id uuid
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    message webhook_messages%ROWTYPE;
BEGIN
    IF NOT EXISTS (
        SELECT FROM webhooks
        WHERE enabled AND (profile_id IS NULL OR profile_id = of_profile_id)
          AND (events = '{}' OR event_type = ANY (events)) AND id IS DISTINCT FROM failed_webhook_id
    ) THEN
        RETURN;
    END IF;
    INSERT INTO webhook_messages (type, at, profile_id, recording_id, call_id, sequence, data, erased)
    VALUES (event_type, happened_at, of_profile_id, of_recording_id, of_call_id, number, content, is_erased)
    RETURNING * INTO message;
    INSERT INTO webhook_deliveries (message_id, webhook_id, subject, position)
    SELECT message.id, id, coalesce(of_call_id, of_recording_id), message.position FROM webhooks
    WHERE enabled AND (profile_id IS NULL OR profile_id = of_profile_id)
      AND (events = '{}' OR event_type = ANY (events)) AND id IS DISTINCT FROM failed_webhook_id;
    PERFORM pg_notify('voxrec_webhooks', '');
END
$$;

-- Events of calls: the sequence number is that of the call.
CREATE OR REPLACE FUNCTION voxrec_event(type text, happened_at timestamptz, profile_id uuid, data jsonb)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    is_erased boolean := FALSE;
BEGIN
    PERFORM pg_advisory_xact_lock(130221133362789);
    IF $1 LIKE 'call.%' AND EXISTS (
        SELECT FROM jobs WHERE recording_id = ($4 ->> 'recordingId')::uuid AND kind = 'erase'
    ) THEN
        $4 := voxrec_without_parties($4);
        is_erased := TRUE;
    END IF;
    INSERT INTO events (type, at, profile_id, data, stored_at) VALUES ($1, $2, $3, $4, clock_timestamp());
    PERFORM pg_notify('voxrec_events', '');
    IF $1 IN ('call.started', 'call.answered', 'call.ended') THEN
        PERFORM voxrec_webhook(
            $1, $2, $3, ($4 ->> 'recordingId')::uuid, ($4 ->> 'id')::uuid,
            (SELECT count(*)::integer FROM events WHERE events.type LIKE 'call.%' AND events.type <> 'call.ringing'
                AND events.data ->> 'id' = $4 ->> 'id'),
            $4, is_erased, NULL);
    END IF;
END
$$;

-- The time of the message is that of the change, which the journal may store later. voxrec.expired is set by the
-- transaction that applies the retention period.
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

-- delivery.failed, for a mail and for a webhook. A failure to report a failure is not reported.
CREATE FUNCTION voxrec_delivery_failed(
    failed_channel text, delivery_id uuid, failed_webhook_id uuid, of_recording_id uuid, of_profile_id uuid,
    of_call_id uuid, failed_event text, attempts integer
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    number integer;
BEGIN
    UPDATE recordings SET event_sequence = event_sequence + 1 WHERE id = of_recording_id RETURNING event_sequence INTO number;
    PERFORM voxrec_webhook(
        'delivery.failed', clock_timestamp(), of_profile_id, of_recording_id, of_call_id, number,
        jsonb_build_object(
            'channel', failed_channel, 'deliveryId', delivery_id, 'webhookId', failed_webhook_id, 'event', failed_event,
            'recordingId', of_recording_id, 'callId', of_call_id, 'profileId', of_profile_id, 'attempts', attempts),
        FALSE, failed_webhook_id);
END
$$;
CREATE FUNCTION voxrec_mail_failed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM voxrec_delivery_failed(
        'mail', NULL, NULL, NEW.recording_id, profile_id, call_id, 'recording.completed', NEW.attempts)
    FROM recordings WHERE id = NEW.recording_id;
    RETURN NULL;
END
$$;
CREATE TRIGGER jobs_mail_failed AFTER UPDATE OF dead ON jobs
    FOR EACH ROW WHEN (NEW.kind = 'mail' AND NEW.dead AND NOT OLD.dead) EXECUTE FUNCTION voxrec_mail_failed();
CREATE FUNCTION voxrec_webhook_failed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM voxrec_delivery_failed(
        'webhook', NEW.id, NEW.webhook_id, recording_id, profile_id, call_id, type, NEW.attempts)
    FROM webhook_messages WHERE id = NEW.message_id AND type <> 'delivery.failed';
    RETURN NULL;
END
$$;
CREATE TRIGGER webhook_deliveries_failed AFTER UPDATE OF state ON webhook_deliveries
    FOR EACH ROW WHEN (NEW.state = 'failed' AND OLD.state <> 'failed') EXECUTE FUNCTION voxrec_webhook_failed();

-- What waits for a disabled endpoint is suspended, and sent when it is enabled again.
CREATE FUNCTION voxrec_webhook_switched() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.enabled THEN
        UPDATE webhook_deliveries SET state = 'pending', attempts = 0, due_at = now()
        WHERE webhook_id = NEW.id AND state = 'suspended';
        PERFORM pg_notify('voxrec_webhooks', '');
    ELSE
        UPDATE webhook_deliveries SET state = 'suspended' WHERE webhook_id = NEW.id AND state = 'pending';
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER webhooks_switched AFTER UPDATE OF enabled ON webhooks
    FOR EACH ROW WHEN (NEW.enabled <> OLD.enabled) EXECUTE FUNCTION voxrec_webhook_switched();

-- The webhook_url of a Profile is an endpoint.
CREATE FUNCTION voxrec_profile_webhook() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF coalesce(NEW.webhook_url, '') = '' THEN
        DELETE FROM webhooks WHERE profile_id = NEW.id AND of_profile;
    ELSE
        INSERT INTO webhooks (profile_id, url, of_profile) VALUES (NEW.id, NEW.webhook_url, TRUE)
        ON CONFLICT (profile_id) WHERE of_profile DO UPDATE
        SET url = excluded.url, enabled = TRUE, disabled_reason = NULL, failing_since = NULL, updated_at = now();
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER profiles_webhook_new AFTER INSERT ON profiles
    FOR EACH ROW WHEN (NEW.webhook_url <> '') EXECUTE FUNCTION voxrec_profile_webhook();
CREATE TRIGGER profiles_webhook_changed AFTER UPDATE OF webhook_url ON profiles
    FOR EACH ROW WHEN (NEW.webhook_url IS DISTINCT FROM OLD.webhook_url) EXECUTE FUNCTION voxrec_profile_webhook();
INSERT INTO webhooks (profile_id, url, of_profile) SELECT id, webhook_url, TRUE FROM profiles WHERE webhook_url <> '';
CREATE TRIGGER webhooks_erase_response AFTER DELETE ON webhooks
    FOR EACH ROW EXECUTE FUNCTION voxrec_erase_response();

-- Attempts of mail. requested: the address was given by a client, not by the Profile.
ALTER TABLE deliveries
    ADD COLUMN id         uuid NOT NULL DEFAULT gen_random_uuid(),
    ADD COLUMN requested  boolean NOT NULL DEFAULT FALSE,
    ADD COLUMN created_at timestamptz NOT NULL DEFAULT now();
CREATE UNIQUE INDEX deliveries_id ON deliveries (id);
CREATE TABLE mail_attempts (
    recording_id uuid NOT NULL,
    recipient    text NOT NULL,
    at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    state        text NOT NULL,
    reply        text NOT NULL,
    FOREIGN KEY (recording_id, recipient) REFERENCES deliveries ON DELETE CASCADE
);
CREATE INDEX mail_attempts_delivery ON mail_attempts (recording_id, recipient, at);
CREATE FUNCTION voxrec_mail_attempt() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO mail_attempts (recording_id, recipient, state, reply)
    VALUES (NEW.recording_id, NEW.recipient, NEW.state, NEW.last_reply);
    RETURN NULL;
END
$$;
CREATE TRIGGER deliveries_attempt_new AFTER INSERT ON deliveries
    FOR EACH ROW WHEN (NEW.attempts > 0) EXECUTE FUNCTION voxrec_mail_attempt();
CREATE TRIGGER deliveries_attempt_more AFTER UPDATE OF attempts ON deliveries
    FOR EACH ROW WHEN (NEW.attempts > OLD.attempts) EXECUTE FUNCTION voxrec_mail_attempt();
INSERT INTO mail_attempts (recording_id, recipient, at, state, reply)
    SELECT recording_id, recipient, updated_at, state, last_reply FROM deliveries;
