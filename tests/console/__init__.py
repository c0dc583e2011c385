"""Tests of voxrec.console."""
