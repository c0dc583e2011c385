DROP TRIGGER deliveries_bounced ON deliveries;
DROP FUNCTION voxrec_mail_bounced();
ALTER TABLE deliveries DROP COLUMN bounced_attempt;
DROP TABLE delivery_reports;
DROP TABLE bounce_keys;
