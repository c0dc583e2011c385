CREATE INDEX webhook_deliveries_unfinished ON webhook_deliveries (webhook_id) WHERE state IN ('pending', 'suspended');
DROP INDEX webhook_deliveries_of_webhook;
