-- The deletion of a Recording also erases the stored responses to requests for its deliveries, which name mail addresses.
-- depends: 0059.unconfirmed_mails
CREATE INDEX idempotency_below ON idempotency
    (lower(substring(scope FROM '/([0-9A-Fa-f-]{36})(?:/audio|/deliveries)?$')));

CREATE OR REPLACE FUNCTION voxrec_erase_response() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE idempotency SET fingerprint = '', headers = '{}', body = NULL
    WHERE right(headers ->> 'Location', 36) = OLD.id::text
        OR lower(substring(scope FROM '/([0-9A-Fa-f-]{36})(?:/audio|/deliveries)?$')) = OLD.id::text;
    RETURN NULL;
END
$$;

DROP INDEX idempotency_changed;
