CREATE INDEX idempotency_changed ON idempotency (lower(substring(scope FROM '/([0-9A-Fa-f-]{36})(?:/audio)?$')));

CREATE OR REPLACE FUNCTION voxrec_erase_response() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE idempotency SET fingerprint = '', headers = '{}', body = NULL
    WHERE right(headers ->> 'Location', 36) = OLD.id::text
        OR lower(substring(scope FROM '/([0-9A-Fa-f-]{36})(?:/audio)?$')) = OLD.id::text;
    RETURN NULL;
END
$$;

DROP INDEX idempotency_below;
