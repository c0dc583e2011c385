DROP TABLE used_authorizations;
DROP TABLE code_challenges;
DROP TABLE recovery_codes;
DROP TABLE second_factors;

ALTER TABLE sessions DROP COLUMN id_token;

-- Without the columns, a user of a provider could not be told from a local one.
DELETE FROM users WHERE issuer IS NOT NULL;
ALTER TABLE users DROP COLUMN second_factor, DROP COLUMN subject, DROP COLUMN issuer;
