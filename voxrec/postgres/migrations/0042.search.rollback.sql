DROP TRIGGER exports_of_newer_version ON exports;
DROP FUNCTION voxrec_pass_over();
-- The former version would export all Recordings of the Profiles instead.
UPDATE exports SET state = 'failed', error = 'voxrec was downgraded', leased_until = NULL, finished_at = now()
WHERE state IN ('pending', 'running')
  AND (bulk_action_id IS NOT NULL
       OR query ?| ARRAY['search', 'verdict', 'minDuration', 'maxDuration', 'node', 'legalHold']);
ALTER TABLE exports DROP COLUMN bulk_action_id;
DROP TABLE bulk_action_items, bulk_actions, recording_search_progress, recording_search_position;
DROP TRIGGER notes_text_changed ON notes;
DROP TRIGGER recordings_text_changed ON recordings;
DROP FUNCTION voxrec_note_text_changed();
DROP FUNCTION voxrec_recording_text_changed();
DROP FUNCTION voxrec_index_text(uuid);
DROP FUNCTION voxrec_recording_document(recordings);
DROP TABLE recording_search;
DROP FUNCTION voxrec_search_query(text);
DROP FUNCTION voxrec_number_query(text);
DROP FUNCTION voxrec_search_document(text[]);
DROP FUNCTION voxrec_number_terms(text);
DROP FUNCTION voxrec_digits(text);
DROP FUNCTION voxrec_words(text);
