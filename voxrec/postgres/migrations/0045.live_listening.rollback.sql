ALTER TABLE audit DROP COLUMN seconds;
ALTER TABLE tokens DROP COLUMN listen_live;
ALTER TABLE users DROP COLUMN listen_live;
