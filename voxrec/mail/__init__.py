"""Mail delivery: messages and the SMTP client."""
