-- Who puts a job in and claims it with the same statement need not be told of it, and nobody else can take it.
-- depends: 0012.jobs

DROP TRIGGER jobs_tell_new ON jobs;
CREATE TRIGGER jobs_tell_new AFTER INSERT ON jobs
    FOR EACH ROW WHEN (NEW.leased_until IS NULL) EXECUTE FUNCTION voxrec_tell_job();
