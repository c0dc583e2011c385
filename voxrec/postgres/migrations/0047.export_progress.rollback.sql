ALTER TABLE exports DROP COLUMN reached;
