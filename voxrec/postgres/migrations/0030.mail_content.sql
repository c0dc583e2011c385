-- What mails about the Recordings of a Profile contain, and the time zone of their readers (NULL: that of the settings).
-- depends: 0029.exports

ALTER TABLE profiles ADD COLUMN mail_content text NOT NULL DEFAULT 'attachment';
ALTER TABLE profiles ADD COLUMN time_zone text;
