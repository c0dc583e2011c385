DROP TABLE exports;
DROP FUNCTION voxrec_export_finished();
