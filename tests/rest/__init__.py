"""The REST face, room by room, and whole over a real PostgreSQL."""
