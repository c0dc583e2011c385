"""Tests with a real Asterisk, real phones and the real daemon. They need the sandbox's root file systems."""
