CREATE OR REPLACE FUNCTION voxrec_event(type text, happened_at timestamptz, profile_id uuid, data jsonb)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    is_erased boolean := FALSE;
BEGIN
    PERFORM pg_advisory_xact_lock(130221133362789);
    IF $1 LIKE 'call.%' AND EXISTS (
        SELECT FROM jobs WHERE recording_id = ($4 ->> 'recordingId')::uuid AND kind = 'erase'
    ) THEN
        $4 := voxrec_without_parties($4);
        is_erased := TRUE;
    END IF;
    INSERT INTO events (type, at, profile_id, data, stored_at) VALUES ($1, $2, $3, $4, clock_timestamp());
    PERFORM pg_notify('voxrec_events', '');
    IF $1 IN ('call.started', 'call.answered', 'call.ended') THEN
        PERFORM voxrec_webhook(
            $1, $2, $3, ($4 ->> 'recordingId')::uuid, ($4 ->> 'id')::uuid,
            (SELECT count(*)::integer FROM events WHERE events.type LIKE 'call.%' AND events.type <> 'call.ringing'
                AND events.data ->> 'id' = $4 ->> 'id'),
            $4, is_erased, NULL);
    END IF;
END
$$;
