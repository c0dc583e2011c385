ALTER TABLE recordings DROP COLUMN rtp_statistics;
