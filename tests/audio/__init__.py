"""Tests of voxrec.audio."""
