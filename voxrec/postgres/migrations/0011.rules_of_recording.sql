-- Settings of Profiles for beeps, announcements, pauses and limits.
-- depends: 0010.recordings_not_completed

ALTER TABLE profiles
    ADD COLUMN record_beep_in_recording boolean NOT NULL DEFAULT false,
    ADD COLUMN record_prompt_required   boolean NOT NULL DEFAULT false,
    ADD COLUMN record_pause_code        text,
    ADD COLUMN record_resume_code       text,
    ADD COLUMN max_duration_seconds     integer,
    ADD COLUMN min_duration_seconds     integer NOT NULL DEFAULT 0,
    ADD COLUMN max_call_seconds         integer,
    ADD COLUMN ring_timeout_seconds     integer,
    ADD COLUMN max_calls                integer,
    ADD COLUMN language                 text;

ALTER TABLE recordings ADD COLUMN min_duration_seconds integer NOT NULL DEFAULT 0;
