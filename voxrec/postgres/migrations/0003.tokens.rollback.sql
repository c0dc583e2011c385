DROP TABLE tokens;
DROP FUNCTION voxrec_tell_token;
