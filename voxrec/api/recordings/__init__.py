"""Recordings: lists, updates, notes, and the history of accesses."""
