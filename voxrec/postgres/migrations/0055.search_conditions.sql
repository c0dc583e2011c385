-- The conditions of a search apart from each other, so that the rarest one can be looked up.
-- depends: 0054.creators

-- All must be met, in any order: each word is found as the beginning of a word. Digits with separators between them are one
-- number, or several ones.
CREATE FUNCTION voxrec_search_conditions(search text) RETURNS SETOF tsquery LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    pattern CONSTANT text := '(^|[[:space:]])([+(]*[0-9]([-0-9 ()./]*[0-9])?)(?=$|[[:space:]])';
    part tsquery;
    each record;
BEGIN
    RETURN QUERY
        SELECT ('''' || word || ''':*')::tsquery FROM voxrec_words(regexp_replace(search, pattern, ' ', 'g')) AS word;
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
        RETURN NEXT CASE WHEN part IS NULL THEN each.condition ELSE each.condition || part END;
    END LOOP;
END
$$;

CREATE OR REPLACE FUNCTION voxrec_search_query(search text) RETURNS tsquery
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    result tsquery := NULL;
    condition tsquery;
BEGIN
    FOR condition IN SELECT * FROM voxrec_search_conditions(search) LOOP
        result := CASE WHEN result IS NULL THEN condition ELSE result && condition END;
    END LOOP;
    RETURN coalesce(result, ''::tsquery);
END
$$;
