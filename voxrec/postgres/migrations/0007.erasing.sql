-- Jobs that outlive their Recording.
-- depends: 0001.initial

-- Where the audio of a Recording is that was deleted, relative to the archive: only its job still knows.
ALTER TABLE jobs ADD COLUMN path text;
