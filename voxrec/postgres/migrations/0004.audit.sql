-- Who changed what.
-- depends: 0003.tokens

-- An entry comes before the change that it tells of, as 'begun'; one that stays so belongs to a process that died on
-- the way. It refers to nothing: it outlives what it tells of, and whoever did it.
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
