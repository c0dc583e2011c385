"""The ``voxrec`` command."""
