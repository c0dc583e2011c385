-- An index for the deletion of a webhook, or of its Profile, with its deliveries.
-- depends: 0020.webhooks

CREATE INDEX webhook_deliveries_of_webhook ON webhook_deliveries (webhook_id);
DROP INDEX webhook_deliveries_unfinished;
