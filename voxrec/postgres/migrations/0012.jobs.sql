-- Jobs as resources that users list and restart.
-- depends: 0007.erasing

-- A job has a UUID and a creation time, as the other resources have. Nothing refers to the old numbers.
ALTER TABLE jobs DROP COLUMN id;  -- and its indexes
ALTER TABLE jobs ADD COLUMN id uuid PRIMARY KEY DEFAULT gen_random_uuid();
-- claims counts the claims of a job. Unlike attempts, it is never reset, so that it tells the current claim from an
-- earlier one.
ALTER TABLE jobs ADD COLUMN claims integer NOT NULL DEFAULT 0;
UPDATE jobs SET claims = attempts;

CREATE INDEX jobs_due ON jobs (due_at, created_at) WHERE done_at IS NULL AND NOT dead;
CREATE INDEX jobs_dead ON jobs (kind) WHERE dead;
CREATE INDEX jobs_undone ON jobs (created_at DESC, id DESC) WHERE done_at IS NULL;
CREATE INDEX jobs_erased ON jobs (done_at) WHERE kind = 'erase' AND done_at IS NOT NULL;
