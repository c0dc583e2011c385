DROP TABLE notes;

DROP TRIGGER recordings_mark_new ON recordings;
DROP TRIGGER recordings_mark_changed ON recordings;
DROP TRIGGER recordings_mark_gone ON recordings;

CREATE OR REPLACE FUNCTION voxrec_mark() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        DELETE FROM recording_marks
        WHERE mark = ANY (ARRAY(SELECT voxrec_marks(OLD.metadata))) AND at = OLD.created_at AND recording_id = OLD.id;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO recording_marks SELECT mark, NEW.created_at, NEW.id FROM voxrec_marks(NEW.metadata) AS mark;
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER recordings_mark_new AFTER INSERT ON recordings
    FOR EACH ROW WHEN (NEW.metadata <> '{}') EXECUTE FUNCTION voxrec_mark();
CREATE TRIGGER recordings_mark_changed AFTER UPDATE ON recordings
    FOR EACH ROW WHEN (NEW.metadata <> OLD.metadata OR NEW.created_at <> OLD.created_at) EXECUTE FUNCTION voxrec_mark();
CREATE TRIGGER recordings_mark_gone AFTER DELETE ON recordings
    FOR EACH ROW WHEN (OLD.metadata <> '{}') EXECUTE FUNCTION voxrec_mark();

DELETE FROM recording_marks USING recordings
    WHERE id = recording_id AND tags <> '{}' AND mark NOT IN (SELECT voxrec_marks(metadata));
DROP FUNCTION voxrec_marks(jsonb, text[]);
ALTER TABLE recordings DROP COLUMN tags;
