-- The live calls of all nodes, so that each of them can list all, and find the node of a call.
-- depends: 0018.nodes

CREATE TABLE calls (
    id         uuid PRIMARY KEY,
    node       text NOT NULL REFERENCES nodes ON DELETE CASCADE ON UPDATE CASCADE,
    profile_id uuid NOT NULL,
    data       jsonb NOT NULL
);

CREATE INDEX calls_of_node ON calls (node);
