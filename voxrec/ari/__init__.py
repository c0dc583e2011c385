"""Talking to Asterisk through ARI, with no policy: events in, commands out."""
