CREATE OR REPLACE FUNCTION voxrec_erase_response() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE idempotency SET fingerprint = '', headers = '{}', body = NULL
    WHERE right(headers ->> 'Location', 36) = OLD.id::text;
    RETURN NULL;
END
$$;
DROP INDEX idempotency_changed;
