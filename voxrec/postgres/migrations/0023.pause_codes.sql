-- The DTMF codes of a call, which its Profile may have changed when the Recording is finished.
-- depends: 0022.required_prompts

ALTER TABLE recordings
    ADD COLUMN pause_code  text,
    ADD COLUMN resume_code text;
