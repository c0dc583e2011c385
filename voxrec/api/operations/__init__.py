"""Operation of the daemon: health, metrics, jobs, nodes, and the audit log."""
