DROP TRIGGER recordings_event_new ON recordings;
DROP TRIGGER recordings_event_moved ON recordings;
DROP TRIGGER recordings_event_gone ON recordings;
DROP FUNCTION voxrec_recording_event, voxrec_event;
DROP TABLE events;
