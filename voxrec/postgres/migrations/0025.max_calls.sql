-- maxCalls of a Profile, exactly, over calls that begin on several nodes at the same time.
-- depends: 0028.links

-- The calls that nodes have accepted and not stored in the table calls yet. Unlogged: after a crash of PostgreSQL, nodes
-- store their calls again.
CREATE UNLOGGED TABLE call_reservations (
    id          uuid PRIMARY KEY,
    node        text NOT NULL,
    profile_id  uuid NOT NULL,
    reserved_at timestamptz NOT NULL
);

CREATE INDEX calls_of_profile ON calls (profile_id);

-- Reserves a call of a Profile, and returns whether its maximum permits that. own_calls: what the node counts itself.
-- known: the ids of these calls, and of those that it has stored; null: not known. settled: its reservations that are among
-- own_calls, or whose call has ended. Requests for one Profile are serialized by the lock, and each statement of this
-- function sees what was committed before it: also calls of the same node that began after it sent the request. A
-- reservation is valid for 10 s, in which a node that has not failed has stored its call.
CREATE FUNCTION voxrec_reserve_call(
    reservation uuid, of_node text, of_profile uuid, maximum integer, own_calls integer, known uuid[], settled uuid[]
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    others integer;
    reserved integer;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended(of_profile::text, 1986622056));
    SELECT count(*) INTO others
    FROM calls JOIN nodes ON nodes.name = calls.node
    WHERE calls.profile_id = of_profile AND (calls.node <> of_node OR NOT calls.id = ANY (known))
      AND nodes.instance IS NOT NULL AND nodes.heartbeat_at > now() - interval '6 s';
    SELECT count(*) INTO reserved
    FROM call_reservations AS r JOIN nodes ON nodes.name = r.node
    WHERE r.profile_id = of_profile AND r.id <> ALL (settled) AND r.reserved_at > now() - interval '10 s'
      AND nodes.instance IS NOT NULL AND nodes.heartbeat_at > now() - interval '6 s';
    IF own_calls + others + reserved >= maximum THEN
        RETURN FALSE;
    END IF;
    INSERT INTO call_reservations (id, node, profile_id, reserved_at)
    VALUES (reservation, of_node, of_profile, clock_timestamp());
    RETURN TRUE;
END
$$;
