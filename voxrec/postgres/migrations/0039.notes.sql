-- Tags of Recordings, and notes about them.
-- depends: 0034.rtp_statistics 0037.mail_template

-- Only the triggers below index tags: an index of the column would have to be updated with every state of a call.
ALTER TABLE recordings ADD COLUMN tags text[] NOT NULL DEFAULT '{}';

-- The terms of metadata are arrays, so that no tag has the mark of one.
CREATE FUNCTION voxrec_marks(metadata jsonb, tags text[]) RETURNS SETOF bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT mark FROM voxrec_marks(metadata) AS mark
    UNION
    SELECT jsonb_hash_extended(jsonb_build_object('tag', tag), 0) FROM unnest(tags) AS tag
$$;

CREATE OR REPLACE FUNCTION voxrec_mark() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        DELETE FROM recording_marks
        WHERE mark = ANY (ARRAY(SELECT voxrec_marks(OLD.metadata, OLD.tags)))
          AND at = OLD.created_at AND recording_id = OLD.id;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO recording_marks
            SELECT mark, NEW.created_at, NEW.id FROM voxrec_marks(NEW.metadata, NEW.tags) AS mark;
    END IF;
    RETURN NULL;
END
$$;

DROP TRIGGER recordings_mark_new ON recordings;
DROP TRIGGER recordings_mark_changed ON recordings;
DROP TRIGGER recordings_mark_gone ON recordings;
CREATE TRIGGER recordings_mark_new AFTER INSERT ON recordings
    FOR EACH ROW WHEN (NEW.metadata <> '{}' OR NEW.tags <> '{}') EXECUTE FUNCTION voxrec_mark();
CREATE TRIGGER recordings_mark_changed AFTER UPDATE ON recordings
    FOR EACH ROW WHEN (NEW.metadata <> OLD.metadata OR NEW.tags <> OLD.tags OR NEW.created_at <> OLD.created_at)
    EXECUTE FUNCTION voxrec_mark();
CREATE TRIGGER recordings_mark_gone AFTER DELETE ON recordings
    FOR EACH ROW WHEN (OLD.metadata <> '{}' OR OLD.tags <> '{}') EXECUTE FUNCTION voxrec_mark();

-- user_id and token_id are not foreign keys: a note outlives its author. Both NULL: the token of the settings file.
CREATE TABLE notes (
    id           uuid PRIMARY KEY,
    recording_id uuid NOT NULL REFERENCES recordings ON DELETE CASCADE,
    text         text NOT NULL,
    position     double precision,
    author       text NOT NULL,
    user_id      uuid,
    token_id     uuid,
    created_at   timestamptz NOT NULL,
    updated_at   timestamptz NOT NULL
);
CREATE INDEX notes_of_recording ON notes (recording_id, created_at DESC, id DESC);

-- Stored responses contain the text.
CREATE TRIGGER notes_erase_response AFTER DELETE ON notes
    FOR EACH ROW EXECUTE FUNCTION voxrec_erase_response();
