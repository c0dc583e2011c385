-- Calls that were passed to another node because nodes did not respond (etc/kamailio/kamailio.cfg). A node that receives such
-- a call late finds here that it must not place it. There is a row for each such call only, not for each call.
-- depends: 0054.creators

CREATE TABLE call_attempts (
    invite  text PRIMARY KEY,
    number  smallint NOT NULL,
    made_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX call_attempts_made_at ON call_attempts (made_at);
