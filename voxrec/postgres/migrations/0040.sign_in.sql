-- Users of an OpenID Connect provider, a second factor of local users, and what is needed while they sign in.
-- depends: 0039.notes

-- The identity of a user at the provider: the claims iss and sub, or NULL for a local user.
ALTER TABLE users
    ADD COLUMN issuer text,
    ADD COLUMN subject text,
    ADD COLUMN second_factor boolean NOT NULL DEFAULT FALSE;
CREATE UNIQUE INDEX users_identity ON users (issuer, subject);

-- The ID token of a user who signed in at a provider, which that provider expects when the user signs out.
ALTER TABLE sessions ADD COLUMN id_token text;

-- The secret of the time-based codes of a user (RFC 6238), in Base32, and the time step of the last code that was
-- accepted. It cannot be hashed: each verification needs it.
CREATE TABLE second_factors (
    user_id   uuid PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    secret    text NOT NULL,
    last_step bigint NOT NULL
);

-- hash is the SHA-256 hash of a recovery code, which has 80 random bits.
CREATE TABLE recovery_codes (
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    hash    bytea NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (user_id, hash)
);

-- A user whose password was right, and who has to enter a code. hash is the SHA-256 hash of the ticket that the client
-- has to return; secret is that of a second factor that is not confirmed yet.
CREATE TABLE code_challenges (
    hash       bytea PRIMARY KEY CHECK (length(hash) = 32),
    user_id    uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    secret     text,
    failures   integer NOT NULL DEFAULT 0,
    expires_at timestamptz NOT NULL
);
CREATE INDEX code_challenges_of_user ON code_challenges (user_id);

-- hash is the SHA-256 hash of the state of an authorization response (OpenID Connect) with which a user has signed in.
CREATE TABLE used_authorizations (
    hash       bytea PRIMARY KEY CHECK (length(hash) = 32),
    expires_at timestamptz NOT NULL
);
