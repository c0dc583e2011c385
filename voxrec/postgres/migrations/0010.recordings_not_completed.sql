-- An index for absent Recordings too, since they may be few among very many.
-- depends: 0001.initial

DROP INDEX recordings_unfinished;
CREATE INDEX recordings_not_completed ON recordings (state, created_at DESC, id DESC) WHERE state <> 'completed';
