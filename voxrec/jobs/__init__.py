"""The worker of the durable job queue."""
