DROP TRIGGER recordings_mark_new ON recordings;
DROP TRIGGER recordings_mark_changed ON recordings;
DROP TRIGGER recordings_mark_gone ON recordings;
DROP FUNCTION voxrec_mark, voxrec_marks;
DROP TABLE recording_marks;
DROP INDEX recordings_profile_not_completed, recordings_newest_first;
CREATE INDEX recordings_newest_first ON recordings (created_at DESC, id DESC);
CREATE INDEX recordings_metadata ON recordings USING gin (metadata jsonb_path_ops);
