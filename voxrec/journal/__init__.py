"""The local, durable log of what calls report about their Recordings."""
