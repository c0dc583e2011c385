"""PostgreSQL: connections, pool, notifications, migrations and the embedded server."""
