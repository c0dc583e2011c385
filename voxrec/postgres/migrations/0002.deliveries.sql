-- What the mail relay said about each recipient of a Recording.
-- depends: 0001.initial

-- It goes with its Recording: who was to get it is as personal as who called. The Message-ID is not kept, since it is
-- made from the Recording's id.
CREATE TABLE deliveries (
    recording_id uuid NOT NULL REFERENCES recordings ON DELETE CASCADE,
    recipient    text NOT NULL,
    state        text NOT NULL CHECK (state IN ('accepted', 'deferred', 'refused')),
    attempts     integer NOT NULL DEFAULT 1,
    last_reply   text NOT NULL,
    updated_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (recording_id, recipient)
);
