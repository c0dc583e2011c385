ALTER TABLE recordings
    DROP COLUMN pause_code,
    DROP COLUMN resume_code;
