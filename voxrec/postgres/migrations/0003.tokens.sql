-- Bearer tokens for the REST API, without their secrets.
-- depends: 0002.deliveries

-- hash is the SHA-256 hash of the secret. A slow password hash would gain nothing, since 256 random bits cannot be
-- guessed however fast a guess is, and it would delay each request.
-- A revoked token remains in the table, so that audit entries that refer to it can be explained.
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
