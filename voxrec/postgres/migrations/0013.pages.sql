-- The cost of a page of Recordings does not depend on their number, whatever the filters.
-- depends: 0008.events 0012.jobs

-- The condition is true for every row, and PostgreSQL uses the index only in queries with that condition. Otherwise the
-- planner, which assumes that matches are spread evenly over time, would scan millions of rows of this index when all
-- matches are old, such as those of a Profile without calls for months.
DROP INDEX recordings_newest_first;
CREATE INDEX recordings_newest_first ON recordings (created_at DESC, id DESC) WHERE channels > 0;

CREATE INDEX recordings_profile_not_completed ON recordings (profile_id, state, created_at DESC, id DESC)
    WHERE state <> 'completed';

-- An inverted index of metadata, ordered by time. A GIN index has no order, so that each page would fetch and sort all
-- matches. There is no foreign key, since checking it would need another index, and the triggers below replace it.
CREATE TABLE recording_marks (
    mark         bigint NOT NULL,
    at           timestamptz NOT NULL,
    recording_id uuid NOT NULL,
    PRIMARY KEY (mark, at, recording_id)
);

-- A mark is the hash of a value with the keys that lead to it. Each element of an array has a mark as if it stood in the
-- place of the array. An object and an array also have a mark of their own, without their contents.
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
