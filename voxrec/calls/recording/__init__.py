"""The recording of a live call: the MixMonitor and its files, the Recording and its timeline, and pauses."""
