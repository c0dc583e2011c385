DROP TRIGGER jobs_tell_new ON jobs;
CREATE TRIGGER jobs_tell_new AFTER INSERT ON jobs FOR EACH ROW EXECUTE FUNCTION voxrec_tell_job();
