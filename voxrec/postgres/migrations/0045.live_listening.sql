-- The permission to listen to live calls, which no role includes, and how long a call was listened to.
-- depends: 0036.new_spool 0040.sign_in 0049.upload_queue

ALTER TABLE users ADD COLUMN listen_live boolean NOT NULL DEFAULT false;
ALTER TABLE tokens ADD COLUMN listen_live boolean NOT NULL DEFAULT false;
ALTER TABLE audit ADD COLUMN seconds double precision;
