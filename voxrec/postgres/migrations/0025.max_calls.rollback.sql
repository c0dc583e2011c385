DROP FUNCTION voxrec_reserve_call;
DROP INDEX calls_of_profile;
DROP TABLE call_reservations;
