-- Expiring links: a browser opens the page of one Recording without a token.
-- depends: 0024.pause_codes

-- The keys that sign links, shared by all nodes. The newest one signs; the others verify until their last link has
-- expired. A key has 244 random bits.
CREATE TABLE link_keys (
    id         integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    secret     bytea NOT NULL DEFAULT sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())),
    created_at timestamptz NOT NULL DEFAULT now()
);

-- The URL is derived from the id and the key, and is not stored. max_uses NULL: any number.
CREATE TABLE links (
    id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    recording_id uuid NOT NULL REFERENCES recordings ON DELETE CASCADE,
    key_id       integer REFERENCES link_keys ON DELETE SET NULL,
    origin       text NOT NULL CHECK (origin IN ('rest', 'mail', 'webhook')),
    created_by   text NOT NULL,
    description  text,
    expires_at   timestamptz NOT NULL,
    max_uses     integer,
    uses         integer NOT NULL DEFAULT 0,
    last_used_at timestamptz,
    revoked_at   timestamptz,
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX links_of_recording ON links (recording_id, created_at DESC, id DESC);
CREATE INDEX links_expiry ON links (expires_at);
CREATE INDEX links_key ON links (key_id);

-- Each opening of the page. The id is that of the visit, in the cookie of the browser.
CREATE TABLE link_uses (
    id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    link_id    uuid NOT NULL REFERENCES links ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    address    text NOT NULL,
    user_agent text NOT NULL
);
CREATE INDEX link_uses_newest_first ON link_uses (link_id, created_at DESC, id DESC);

-- The stored response to the creation of a link contains its URL.
CREATE TRIGGER links_erase_response AFTER DELETE ON links
    FOR EACH ROW EXECUTE FUNCTION voxrec_erase_response();

ALTER TABLE audit ADD COLUMN user_agent text;
