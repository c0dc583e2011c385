-- Attempts of an export that make progress do not count.
-- depends: 0046.delivery_reports

-- The greatest number of Recordings that any attempt has reached.
ALTER TABLE exports ADD COLUMN reached bigint NOT NULL DEFAULT 0;
