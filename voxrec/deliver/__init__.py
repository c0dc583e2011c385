"""From the durable queue to mailboxes."""
