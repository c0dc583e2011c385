"""Policy: what happens to a call."""
