-- Indexes for the orders and filters of the list of Recordings.
-- depends: 0042.search
-- transactional: false

-- Each statement is a transaction of its own, so that no lock is held longer than one index takes; calls wait in the journal
-- meanwhile. CONCURRENTLY would wait for the other daemons, which wait for the end of the migrations.
CREATE INDEX IF NOT EXISTS recordings_duration ON recordings (coalesce(duration, -1), id);
CREATE INDEX IF NOT EXISTS recordings_size ON recordings (coalesce(size, -1), id);
CREATE INDEX IF NOT EXISTS recordings_node ON recordings (node, created_at DESC, id DESC) WHERE node IS NOT NULL;
-- Recordings with a problem and those under a legal hold are few.
CREATE INDEX IF NOT EXISTS recordings_problems ON recordings (created_at DESC, id DESC)
    WHERE verdict ->> 'ok' = 'false';
CREATE INDEX IF NOT EXISTS recordings_held ON recordings (created_at DESC, id DESC) WHERE legal_hold;
