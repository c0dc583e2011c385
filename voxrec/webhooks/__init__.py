"""Webhooks: the signed HTTP requests that report events, and the rules for the addresses that they may be sent to."""
