-- The reply of the mail relay for each recipient of a Recording.
-- depends: 0001.initial

-- Deliveries are deleted with their Recording, since recipients are personal data too. The Message-ID is not stored,
-- since it is derived from the id of the Recording.
CREATE TABLE deliveries (
    recording_id uuid NOT NULL REFERENCES recordings ON DELETE CASCADE,
    recipient    text NOT NULL,
    state        text NOT NULL CHECK (state IN ('accepted', 'deferred', 'refused')),
    attempts     integer NOT NULL DEFAULT 1,
    last_reply   text NOT NULL,
    updated_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (recording_id, recipient)
);
