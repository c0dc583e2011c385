-- Facts of a recipient certificate with which users tell certificates apart: who has issued it under which number, and from
-- when it is valid (NULL: it was stored by the former version).
-- depends: 0054.creators

ALTER TABLE recipient_certificates
    ADD COLUMN issuer text, ADD COLUMN serial_number text, ADD COLUMN starts_at timestamptz;
