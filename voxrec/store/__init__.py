"""Repositories: every SQL statement about voxrec's resources."""
