-- The certificates to which mails are encrypted (profile_id NULL: those of the mails of all Profiles), and when the mails of
-- a Profile are encrypted (NULL: as the settings say).
-- depends: 0050.event_cost

CREATE TABLE recipient_certificates (
    id                    uuid PRIMARY KEY,
    profile_id            uuid REFERENCES profiles ON DELETE CASCADE,
    address               text NOT NULL,
    mailbox               text NOT NULL,  -- the address, with its domain in ASCII and in lower case
    other_address_allowed boolean NOT NULL,
    type                  text NOT NULL,
    certificate           text NOT NULL,
    subject               text NOT NULL,
    addresses             text[] NOT NULL,
    fingerprint           text NOT NULL,
    algorithm             text NOT NULL,
    expires_at            timestamptz NOT NULL,
    created_at            timestamptz NOT NULL,
    updated_at            timestamptz NOT NULL
);
CREATE UNIQUE INDEX recipient_certificates_unique ON recipient_certificates
    (mailbox, fingerprint, coalesce(profile_id, '00000000-0000-0000-0000-000000000000'));
CREATE INDEX recipient_certificates_newest_first ON recipient_certificates (created_at DESC, id DESC);
CREATE INDEX recipient_certificates_profile ON recipient_certificates (profile_id, created_at DESC, id DESC);

ALTER TABLE profiles ADD COLUMN mail_encryption text;
