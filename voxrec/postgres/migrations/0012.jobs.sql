-- Jobs that people see and start again.
-- depends: 0007.erasing

-- A job is a resource like the others: a UUID, and newest first by when it came. Nothing refers to the old numbers.
ALTER TABLE jobs DROP COLUMN id;  -- with its indexes
ALTER TABLE jobs ADD COLUMN id uuid PRIMARY KEY DEFAULT gen_random_uuid();
-- How often it was claimed. It only grows, while attempts begin anew with every restart: whoever has lost a job to
-- somebody else knows an older number.
ALTER TABLE jobs ADD COLUMN claims integer NOT NULL DEFAULT 0;
UPDATE jobs SET claims = attempts;

CREATE INDEX jobs_due ON jobs (due_at, created_at) WHERE done_at IS NULL AND NOT dead;
CREATE INDEX jobs_dead ON jobs (kind) WHERE dead;
CREATE INDEX jobs_undone ON jobs (created_at DESC, id DESC) WHERE done_at IS NULL;
CREATE INDEX jobs_erased ON jobs (done_at) WHERE kind = 'erase' AND done_at IS NOT NULL;
