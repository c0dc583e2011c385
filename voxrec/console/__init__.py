"""The web console: pages for people who find, hear and control recordings."""
