-- No notification for a job that is inserted as claimed, since no other daemon can claim it.
-- depends: 0012.jobs

DROP TRIGGER jobs_tell_new ON jobs;
CREATE TRIGGER jobs_tell_new AFTER INSERT ON jobs
    FOR EACH ROW WHEN (NEW.leased_until IS NULL) EXECUTE FUNCTION voxrec_tell_job();
