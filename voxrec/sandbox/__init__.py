"""A real Asterisk, phones and a mailbox in a box, for the demo, the tests and the benchmarks."""
