ALTER TABLE recordings DROP COLUMN min_duration_seconds;

ALTER TABLE profiles
    DROP COLUMN record_beep_in_recording,
    DROP COLUMN record_prompt_required,
    DROP COLUMN record_pause_code,
    DROP COLUMN record_resume_code,
    DROP COLUMN max_duration_seconds,
    DROP COLUMN min_duration_seconds,
    DROP COLUMN max_call_seconds,
    DROP COLUMN ring_timeout_seconds,
    DROP COLUMN max_calls,
    DROP COLUMN language;
