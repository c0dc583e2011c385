-- The first answers to requests that came with an Idempotency-Key.
-- depends: 0001.initial

-- A row is written in the transaction that does what it answers: there is never one without the other.
-- body NULL: it was a list of any length, which is read anew.
CREATE TABLE idempotency (
    scope       text NOT NULL,
    key         text NOT NULL,
    fingerprint text NOT NULL,
    status      integer NOT NULL,
    headers     jsonb NOT NULL,
    body        bytea,
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (scope, key)
);

CREATE INDEX idempotency_oldest_first ON idempotency (created_at);
