-- A page of Recordings costs the same however many there are, whatever is looked for.
-- depends: 0008.events 0012.jobs

-- Through all of them by time PostgreSQL goes only where a list asks for it, by naming this condition, which is true of
-- every row. It takes what is looked for as spread evenly over time, and would pass by millions of rows where all of it
-- lies far back: a Profile that has had no calls for months, say.
DROP INDEX recordings_newest_first;
CREATE INDEX recordings_newest_first ON recordings (created_at DESC, id DESC) WHERE channels > 0;

CREATE INDEX recordings_profile_not_completed ON recordings (profile_id, state, created_at DESC, id DESC)
    WHERE state <> 'completed';

-- What each value in the metadata was found in, in the order of time. An index of the metadata themselves knows no
-- order: it gives all rows that contain something, to be fetched and sorted for each page. No foreign key: it would need
-- one more index to check, and the triggers below do what it would.
CREATE TABLE recording_marks (
    mark         bigint NOT NULL,
    at           timestamptz NOT NULL,
    recording_id uuid NOT NULL,
    PRIMARY KEY (mark, at, recording_id)
);

-- A mark is the hash of a value behind the keys that lead to it. An array has a mark for each of its elements, as if
-- each stood in its place; an object and an array have one of their own, without what is in them.
CREATE FUNCTION voxrec_marks(metadata jsonb) RETURNS SETOF bigint LANGUAGE sql IMMUTABLE AS $$
    WITH RECURSIVE part (way, value) AS (
        SELECT '[]'::jsonb, metadata
        UNION ALL
        SELECT part.way || below.step, below.value
        FROM part CROSS JOIN LATERAL (
            SELECT jsonb_build_array(key), each.value
            FROM jsonb_each(CASE jsonb_typeof(part.value) WHEN 'object' THEN part.value ELSE '{}' END) AS each
            UNION ALL
            SELECT '[]', element
            FROM jsonb_array_elements(CASE jsonb_typeof(part.value) WHEN 'array' THEN part.value ELSE '[]' END)
                AS element
        ) AS below (step, value)
    )
    SELECT DISTINCT jsonb_hash_extended(way || jsonb_build_array(
        CASE jsonb_typeof(value) WHEN 'object' THEN '{}' WHEN 'array' THEN '[]' ELSE value END), 0)
    FROM part
    WHERE way <> '[]'
$$;

CREATE FUNCTION voxrec_mark() RETURNS trigger LANGUAGE plpgsql AS $$
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

INSERT INTO recording_marks
    SELECT mark, created_at, id FROM recordings CROSS JOIN LATERAL voxrec_marks(metadata) AS mark
    WHERE metadata <> '{}';
ANALYZE recording_marks;
DROP INDEX recordings_metadata;

CREATE TRIGGER recordings_mark_new AFTER INSERT ON recordings
    FOR EACH ROW WHEN (NEW.metadata <> '{}') EXECUTE FUNCTION voxrec_mark();
CREATE TRIGGER recordings_mark_changed AFTER UPDATE ON recordings
    FOR EACH ROW WHEN (NEW.metadata <> OLD.metadata OR NEW.created_at <> OLD.created_at) EXECUTE FUNCTION voxrec_mark();
CREATE TRIGGER recordings_mark_gone AFTER DELETE ON recordings
    FOR EACH ROW WHEN (OLD.metadata <> '{}') EXECUTE FUNCTION voxrec_mark();
