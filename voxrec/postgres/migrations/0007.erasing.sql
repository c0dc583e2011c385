-- Jobs that outlive their Recording.
-- depends: 0001.initial

-- path is the audio file of a deleted Recording, relative to the archive. It is recorded nowhere else.
ALTER TABLE jobs ADD COLUMN path text;
