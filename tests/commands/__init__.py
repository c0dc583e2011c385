"""The voxrec command, against a real PostgreSQL."""
