-- The audit log says who has played or downloaded which Recording.
-- depends: 0043.sorting

ALTER TABLE audit ADD COLUMN access text;
