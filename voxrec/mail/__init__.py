"""Sends finished recordings by mail: content, templates, message, SMTP client and the ``mail`` job."""
