-- Reports of mail servers about mails that were accepted: bounces.
-- depends: 0043.sorting

-- The keys that sign bounce addresses, shared by all nodes. The newest one signs; the others verify for as long as mails
-- may be returned. A key has 244 random bits; its number has two bytes in the address.
CREATE TABLE bounce_keys (
    id         integer GENERATED ALWAYS AS IDENTITY (MAXVALUE 65535) PRIMARY KEY,
    secret     bytea NOT NULL DEFAULT sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())),
    created_at timestamptz NOT NULL DEFAULT now()
);

-- attempt: the number of the attempt whose mail was returned. A report that is repeated has the same key.
CREATE TABLE delivery_reports (
    delivery_id uuid NOT NULL REFERENCES deliveries (id) ON DELETE CASCADE,
    attempt     integer NOT NULL,
    action      text NOT NULL
                CHECK (action IN ('failed', 'delayed', 'delivered', 'relayed', 'expanded', 'unknown')),
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    status      text,
    remote_mta  text,
    reply       text NOT NULL,
    PRIMARY KEY (delivery_id, attempt, action)
);

-- The attempt whose mail was returned. The state is then 'refused', which the former version knows.
ALTER TABLE deliveries ADD COLUMN bounced_attempt integer;

CREATE FUNCTION voxrec_mail_bounced() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    number integer;
BEGIN
    UPDATE recordings SET event_sequence = event_sequence + 1 WHERE id = NEW.recording_id
    RETURNING event_sequence INTO number;
    PERFORM voxrec_webhook(
        'delivery.failed', clock_timestamp(), profile_id, id, call_id, number,
        jsonb_build_object(
            'channel', 'mail', 'deliveryId', NEW.id, 'webhookId', NULL, 'event', 'recording.completed',
            'recordingId', id, 'callId', call_id, 'profileId', profile_id,
            'attempts', greatest(NEW.attempts, NEW.bounced_attempt),
            'status', (SELECT status FROM delivery_reports
                       WHERE delivery_id = NEW.id AND attempt = NEW.bounced_attempt AND action = 'failed')),
        FALSE, NULL)
    FROM recordings WHERE id = NEW.recording_id;
    RETURN NULL;
END
$$;
CREATE TRIGGER deliveries_bounced AFTER UPDATE OF bounced_attempt ON deliveries
    FOR EACH ROW WHEN (NEW.bounced_attempt IS DISTINCT FROM OLD.bounced_attempt) EXECUTE FUNCTION voxrec_mail_bounced();
