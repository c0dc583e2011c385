"""The sandbox: a real Asterisk, SIP phones and an SMTP server, for the demo, the tests and the benchmarks."""
