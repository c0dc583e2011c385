-- The DTMF codes of a call, which its Profile may have changed when the Recording is finished.
-- depends: 0023.prompts_of_transfers

ALTER TABLE recordings
    ADD COLUMN pause_code  text,
    ADD COLUMN resume_code text;
