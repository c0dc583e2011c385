-- Bearer tokens of REST, without their secrets.
-- depends: 0002.deliveries

-- hash is the SHA-256 of the secret. A slow hash, such as one for passwords, would gain nothing: the secret is 256
-- random bits, which nobody finds by trying however quick a try is, and each request would have to wait for it.
-- A revoked token stays, so that what it did can still be told.
CREATE TABLE tokens (
    id          uuid PRIMARY KEY,
    name        text NOT NULL,
    hash        bytea NOT NULL UNIQUE CHECK (length(hash) = 32),
    role        text NOT NULL CHECK (role IN ('read', 'provision', 'admin')),
    profile_ids uuid[],
    expires_at  timestamptz,
    created_at  timestamptz NOT NULL,
    revoked_at  timestamptz
);

CREATE INDEX tokens_newest_first ON tokens (created_at DESC, id DESC);

CREATE FUNCTION voxrec_tell_token() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('voxrec_tokens', coalesce(NEW.id, OLD.id)::text);
    RETURN NULL;
END
$$;

CREATE TRIGGER tokens_tell AFTER INSERT OR UPDATE OR DELETE ON tokens
    FOR EACH ROW EXECUTE FUNCTION voxrec_tell_token();
