CREATE OR REPLACE FUNCTION voxrec_search_query(search text) RETURNS tsquery LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
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

DROP FUNCTION voxrec_search_conditions(text);
