DROP TABLE jobs, recordings, profile_numbers, profiles;
DROP FUNCTION voxrec_tell_profile, voxrec_tell_number, voxrec_tell_job;
