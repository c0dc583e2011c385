-- The RTP packets that Asterisk received from each party of a call. NULL: not known.
-- depends: 0035.users

ALTER TABLE recordings ADD COLUMN rtp_statistics jsonb;
