-- The set of mail templates of a Profile (NULL: the templates of the installation).
-- depends: 0036.new_spool

ALTER TABLE profiles ADD COLUMN mail_template text;
