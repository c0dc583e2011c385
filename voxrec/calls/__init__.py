"""Live calls: their state machines, their recordings, and their recovery after a restart or a lost connection."""
