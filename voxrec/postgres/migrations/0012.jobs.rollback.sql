DROP INDEX jobs_due, jobs_dead, jobs_undone, jobs_erased;
ALTER TABLE jobs DROP COLUMN claims;
ALTER TABLE jobs DROP COLUMN id;
ALTER TABLE jobs ADD COLUMN id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY;
CREATE INDEX jobs_due ON jobs (due_at, id) WHERE done_at IS NULL AND NOT dead;
CREATE INDEX jobs_dead ON jobs (id) WHERE dead;
