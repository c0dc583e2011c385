"""Mails and webhooks: their history, and what they are made and encrypted by."""
