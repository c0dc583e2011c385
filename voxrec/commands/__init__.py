"""The groups of the ``voxrec`` command: what a person on the daemon's machine can do."""
