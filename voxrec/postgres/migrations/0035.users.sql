-- Users who sign in with a password, their sessions, and the role supervise.
-- depends: 0025.max_calls

-- password is an Argon2id hash in the PHC string format, which contains its parameters and its salt.
CREATE TABLE users (
    id          uuid PRIMARY KEY,
    name        text NOT NULL UNIQUE,
    password    text NOT NULL,
    role        text NOT NULL CHECK (role IN ('read', 'supervise', 'provision', 'admin')),
    profile_ids uuid[],
    enabled     boolean NOT NULL,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL
);

CREATE INDEX users_newest_first ON users (created_at DESC, id DESC);

-- hash is the SHA-256 hash of the secret in the cookie, which has 256 random bits.
CREATE TABLE sessions (
    id           uuid PRIMARY KEY,
    user_id      uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    hash         bytea NOT NULL UNIQUE CHECK (length(hash) = 32),
    created_at   timestamptz NOT NULL,
    last_used_at timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    address      text NOT NULL,
    user_agent   text NOT NULL
);

CREATE INDEX sessions_newest_first ON sessions (created_at DESC, id DESC);
CREATE INDEX sessions_of_user ON sessions (user_id, created_at DESC, id DESC);

-- As for tokens: every daemon authenticates its clients again.
CREATE TRIGGER users_tell AFTER UPDATE OR DELETE ON users
    FOR EACH ROW EXECUTE FUNCTION voxrec_tell_token();
CREATE TRIGGER sessions_tell AFTER DELETE ON sessions
    FOR EACH ROW WHEN (OLD.expires_at > now()) EXECUTE FUNCTION voxrec_tell_token();

ALTER TABLE tokens DROP CONSTRAINT tokens_role_check;
ALTER TABLE tokens ADD CONSTRAINT tokens_role_check CHECK (role IN ('read', 'supervise', 'provision', 'admin'));

ALTER TABLE audit ADD COLUMN user_id uuid;
