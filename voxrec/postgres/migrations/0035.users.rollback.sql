ALTER TABLE audit DROP COLUMN user_id;

DELETE FROM tokens WHERE role = 'supervise';
ALTER TABLE tokens DROP CONSTRAINT tokens_role_check;
ALTER TABLE tokens ADD CONSTRAINT tokens_role_check CHECK (role IN ('read', 'provision', 'admin'));

DROP TABLE sessions;
DROP TABLE users;
