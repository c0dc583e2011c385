"""The voxrec command."""
