"""The stream of events of calls and Recordings."""
