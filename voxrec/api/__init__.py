"""The REST API: a module for each resource, what they share, and their composition (`voxrec.api.route_table`)."""
