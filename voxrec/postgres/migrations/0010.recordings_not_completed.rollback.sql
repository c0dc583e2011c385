DROP INDEX recordings_not_completed;
CREATE INDEX recordings_unfinished ON recordings (state, created_at DESC, id DESC)
    WHERE state NOT IN ('completed', 'absent');
