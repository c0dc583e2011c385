-- Recordings that are absent are found by an index too: there may be few of them among very many.
-- depends: 0001.initial

DROP INDEX recordings_unfinished;
CREATE INDEX recordings_not_completed ON recordings (state, created_at DESC, id DESC) WHERE state <> 'completed';
