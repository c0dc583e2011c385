ALTER TABLE profiles DROP CONSTRAINT profiles_prompt;
DROP INDEX profiles_of_prompt;
DROP TABLE prompts;
DROP FUNCTION voxrec_tell_prompt;
