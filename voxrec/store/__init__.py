"""PostgreSQL: every SQL statement of voxrec stands in this room."""
