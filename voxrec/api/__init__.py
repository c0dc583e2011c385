"""The REST API: a package for each subject, what resources share, and their composition (`voxrec.api.route_table`)."""
