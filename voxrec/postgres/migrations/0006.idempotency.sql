-- Responses to requests with an Idempotency-Key.
-- depends: 0001.initial

-- A row is inserted in the transaction of the change, so that neither is committed without the other.
-- body is NULL for a streamed response, which is generated again.
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
