-- Search of Recordings by text, and actions for many Recordings.
-- depends: 0045.live_listening

-- The words of a text: lower case, without diacritics, at most 32 characters each.
CREATE FUNCTION voxrec_words(value text) RETURNS SETOF text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT left(word, 32)
    FROM regexp_split_to_table(
        lower(regexp_replace(normalize(value, NFKD), '[\u0300-\u036f]', '', 'g')), '[[:space:][:punct:][:cntrl:]]+') AS word
    WHERE word <> ''
$$;

-- The digits of a number such as +49 (30) 123-456, 0049 30 123456 and +49 (0)30 123456: 4930123456.
CREATE FUNCTION voxrec_digits(number text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT regexp_replace(regexp_replace(replace(number, '(0)', ''), '[^0-9]', '', 'g'), '^00', '')
$$;

-- The terms of the numbers in a text: forwards (<) and backwards (>), so that their beginning and their end are prefixes, and
-- of an international number also as it is dialled within its country, with a 0. Country codes: ITU-T E.164.
CREATE FUNCTION voxrec_number_terms(value text) RETURNS SETOF text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT term
    FROM regexp_matches(value, '[+]?[0-9][-0-9 ()./]*[0-9]', 'g') AS number
        CROSS JOIN LATERAL voxrec_digits(number[1]) AS digits
        CROSS JOIN LATERAL (
            SELECT '<' || digits
            UNION ALL
            SELECT '>' || reverse(digits)
            UNION ALL
            SELECT '<0' || regexp_replace(
                digits,
                '^(1|7|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]'
                '|(2[1-689]|3[578]|42|5[09]|6[7-9]|8[035789]|9[679])[0-9])',
                '')
            WHERE number[1] ~ '^([+]|00)'
        ) AS terms (term)
    WHERE length(digits) BETWEEN 3 AND 20
$$;

-- A tsvector has at most 1 MiB; what is left out of a Recording with thousands of different words in its notes are the last
-- of them. In PL/pgSQL, and with the functions in FROM, where they are inlined: the statement is planned once for each
-- session, and not for each Recording.
CREATE FUNCTION voxrec_search_document(texts text[]) RETURNS tsvector LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN array_to_tsvector(ARRAY(
        SELECT term
        FROM unnest(texts) WITH ORDINALITY AS source (value, position)
            CROSS JOIN LATERAL (
                SELECT word FROM voxrec_words(value) AS word
                UNION ALL
                SELECT number_term FROM voxrec_number_terms(value) AS number_term
            ) AS terms (term)
        WHERE value IS NOT NULL
        GROUP BY term ORDER BY min(position) LIMIT 8000));
END
$$;

-- A number is found by its beginning or its end, or as the beginning of a word. +49 and 0049 mean the beginning only, and a
-- single 0 at the beginning may stand for a country code.
CREATE FUNCTION voxrec_number_query(number text) RETURNS tsquery LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    WITH written AS (
        SELECT voxrec_digits(number) AS digits, number ~ '^[^0-9]*(00|[+])' AS is_whole
    )
    SELECT string_agg('''' || term || ''':*', ' | ')::tsquery
    FROM written CROSS JOIN LATERAL (
        SELECT regexp_replace(number, '[^0-9]', '', 'g')
        UNION ALL
        SELECT '<' || digits WHERE length(digits) BETWEEN 3 AND 20
        UNION ALL
        SELECT '>' || reverse(regexp_replace(digits, '^0', '')) WHERE NOT is_whole AND length(digits) BETWEEN 3 AND 20
    ) AS terms (term)
$$;

-- All words of the search must be found, in any order, as the beginning of a word. Digits with separators between them are
-- one number, or several ones.
CREATE FUNCTION voxrec_search_query(search text) RETURNS tsquery LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    pattern CONSTANT text := '(^|[[:space:]])([+(]*[0-9]([-0-9 ()./]*[0-9])?)(?=$|[[:space:]])';
    result tsquery := NULL;
    part tsquery;
    each record;
BEGIN
    FOR each IN
        SELECT ('''' || word || ''':*')::tsquery AS condition
        FROM voxrec_words(regexp_replace(search, pattern, ' ', 'g')) AS word
    LOOP
        result := CASE WHEN result IS NULL THEN each.condition ELSE result && each.condition END;
    END LOOP;
    FOR each IN
        SELECT voxrec_number_query(matches[2]) AS condition, ARRAY(SELECT voxrec_words(matches[2])) AS parts
        FROM regexp_matches(search, pattern, 'g') AS matches
    LOOP
        part := NULL;
        IF cardinality(each.parts) > 1 THEN
            FOR position IN 1 .. cardinality(each.parts) LOOP
                part := CASE WHEN part IS NULL THEN voxrec_number_query(each.parts[position])
                             ELSE part && voxrec_number_query(each.parts[position]) END;
            END LOOP;
        END IF;
        part := CASE WHEN part IS NULL THEN each.condition ELSE each.condition || part END;
        result := CASE WHEN result IS NULL THEN part ELSE result && part END;
    END LOOP;
    RETURN coalesce(result, ''::tsquery);
END
$$;

-- The text of each Recording and of its notes. A table of its own, so that a change of the state of a call does not change
-- the index. at: created_at of the Recording. A row, even one without text, is also the lock of those who write it.
CREATE TABLE recording_search (
    recording_id uuid PRIMARY KEY REFERENCES recordings ON DELETE CASCADE,
    at           timestamptz NOT NULL,
    document     tsvector NOT NULL
);
-- Without a list of pending entries, which every search would read.
CREATE INDEX recording_search_document ON recording_search USING gin (document) WITH (fastupdate = off);
ALTER TABLE recording_search ALTER COLUMN document SET STATISTICS 1000;

CREATE FUNCTION voxrec_recording_document(recording recordings) RETURNS tsvector LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN voxrec_search_document(
        ARRAY[recording."from", recording."to", recording.from_name, array_to_string(recording.tags, ' ')]
        || ARRAY(SELECT value #>> '{}' FROM jsonb_path_query(recording.metadata, 'strict $.**') AS value
                 WHERE jsonb_typeof(value) IN ('string', 'number'))
        || ARRAY(SELECT text FROM notes WHERE recording_id = recording.id ORDER BY notes.created_at, notes.id));
END
$$;

CREATE FUNCTION voxrec_index_text(id uuid) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    -- Whichever of two transactions has the lock second sees what the other one has committed: the statement that follows
    -- has a snapshot of its own.
    PERFORM FROM recording_search WHERE recording_id = $1 FOR UPDATE;
    IF NOT FOUND THEN
        INSERT INTO recording_search SELECT recordings.id, created_at, '' FROM recordings WHERE recordings.id = $1
        ON CONFLICT DO NOTHING;
        PERFORM FROM recording_search WHERE recording_id = $1 FOR UPDATE;
    END IF;
    UPDATE recording_search AS old SET (at, document) = ROW (new.at, new.document)
    FROM (SELECT created_at AS at, voxrec_recording_document(recordings) AS document
          FROM recordings WHERE recordings.id = $1 OFFSET 0) AS new
    WHERE recording_id = $1 AND (old.at, old.document) IS DISTINCT FROM (new.at, new.document);
END
$$;

CREATE FUNCTION voxrec_recording_text_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM voxrec_index_text(NEW.id);
    RETURN NULL;
END
$$;

CREATE FUNCTION voxrec_note_text_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM voxrec_index_text(coalesce(NEW.recording_id, OLD.recording_id));
    RETURN NULL;
END
$$;

-- New Recordings are indexed by the daemon, within a second, at no cost for the call: see recording_search_position.
CREATE TRIGGER recordings_text_changed AFTER UPDATE ON recordings
    FOR EACH ROW WHEN (
        (NEW."from", NEW."to", NEW.from_name, NEW.tags, NEW.metadata, NEW.created_at)
        IS DISTINCT FROM (OLD."from", OLD."to", OLD.from_name, OLD.tags, OLD.metadata, OLD.created_at))
    EXECUTE FUNCTION voxrec_recording_text_changed();
CREATE TRIGGER notes_text_changed AFTER INSERT OR UPDATE OF text OR DELETE ON notes
    FOR EACH ROW EXECUTE FUNCTION voxrec_note_text_changed();

-- The daemon has indexed the Recordings of the events up to event_id, which become visible in the order of their ids. Its
-- rows never replace those of the triggers, which may be newer.
CREATE TABLE recording_search_position (
    event_id bigint NOT NULL
);
INSERT INTO recording_search_position SELECT coalesce(max(id), 0) FROM events;

-- Recordings before this position, newest first, may have no row in recording_search yet, and no event after
-- recording_search_position; no row: all have one. A daemon indexes them in batches after its start, since one statement for
-- millions of them would take minutes.
CREATE TABLE recording_search_progress (
    at           timestamptz NOT NULL,
    recording_id uuid NOT NULL
);
INSERT INTO recording_search_progress
    SELECT created_at + interval '1 second', id FROM recordings WHERE channels > 0
    ORDER BY created_at DESC, id DESC LIMIT 1;

-- An action for many Recordings: first a preview with the Recordings that it concerns, then, once it is confirmed, a durable
-- job. profile_ids, user_id and token_id: of the client that created it. claims identifies the holder of a lease, as in jobs.
CREATE TABLE bulk_actions (
    id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    action       text NOT NULL CHECK (action IN ('export', 'redeliver', 'hold', 'release', 'delete')),
    state        text NOT NULL DEFAULT 'preview'
                 CHECK (state IN ('preview', 'pending', 'running', 'completed', 'failed', 'canceled')),
    created_by   text NOT NULL,
    user_id      uuid,
    token_id     uuid,
    profile_ids  uuid[],
    address      text NOT NULL,
    reason       text,
    error        text,
    export_id    uuid,
    total        integer NOT NULL DEFAULT 0,
    done         integer NOT NULL DEFAULT 0,
    skipped      integer NOT NULL DEFAULT 0,
    failed       integer NOT NULL DEFAULT 0,
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at   timestamptz NOT NULL,
    confirmed_at timestamptz,
    finished_at  timestamptz,
    attempts     integer NOT NULL DEFAULT 0,
    claims       integer NOT NULL DEFAULT 0,
    due_at       timestamptz NOT NULL DEFAULT now(),
    leased_until timestamptz
);
CREATE INDEX bulk_actions_newest_first ON bulk_actions (created_at DESC, id DESC);
CREATE INDEX bulk_actions_unfinished ON bulk_actions (due_at) WHERE state IN ('pending', 'running');

-- recording_id is not a foreign key: the result outlives a Recording that the action deletes.
CREATE TABLE bulk_action_items (
    action_id    uuid NOT NULL REFERENCES bulk_actions ON DELETE CASCADE,
    position     integer NOT NULL,
    recording_id uuid NOT NULL,
    state        text NOT NULL CHECK (state IN ('pending', 'done', 'skipped', 'failed')),
    detail       text,
    PRIMARY KEY (action_id, position),
    UNIQUE (action_id, recording_id)
);
CREATE INDEX bulk_action_items_pending ON bulk_action_items (action_id, position) WHERE state = 'pending';

-- The export of a bulk action contains its Recordings instead of those of a filter.
ALTER TABLE exports ADD COLUMN bulk_action_id uuid;

-- An earlier version knows neither bulk actions nor these filters: it would export all Recordings of the Profiles. Of the
-- statements that claim exports only its own sets the column recordings; this makes it pass such exports over.
CREATE FUNCTION voxrec_pass_over() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RETURN NULL;
END
$$;
CREATE TRIGGER exports_of_newer_version BEFORE UPDATE OF recordings ON exports
    FOR EACH ROW WHEN (
        NEW.claims <> OLD.claims
        AND (NEW.bulk_action_id IS NOT NULL
             OR NEW.query ?| ARRAY['search', 'verdict', 'minDuration', 'maxDuration', 'node', 'legalHold']))
    EXECUTE FUNCTION voxrec_pass_over();

CREATE TRIGGER bulk_actions_erase_response AFTER DELETE ON bulk_actions
    FOR EACH ROW EXECUTE FUNCTION voxrec_erase_response();
