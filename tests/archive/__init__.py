"""Tests of voxrec.archive."""
