-- Audit entries.
-- depends: 0003.tokens

-- An entry is inserted as 'begun' before its change. One that stays 'begun' is from a process that crashed. It has no
-- foreign keys, since it outlives the resource and the token that it names.
CREATE TABLE audit (
    id         uuid PRIMARY KEY,
    created_at timestamptz NOT NULL,
    who        text NOT NULL,
    token_id   uuid,
    address    text NOT NULL,
    method     text NOT NULL,
    path       text NOT NULL,
    kind       text NOT NULL,
    target_id  uuid,
    outcome    text NOT NULL CHECK (outcome IN ('begun', 'done', 'refused', 'failed')),
    status     integer,
    fields     text[] NOT NULL
);

CREATE INDEX audit_newest_first ON audit (created_at DESC, id DESC);
CREATE INDEX audit_who ON audit (who, created_at DESC, id DESC);
