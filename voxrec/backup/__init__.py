"""Backup and restore of the database, the archive, the journal and unfinished recordings."""
