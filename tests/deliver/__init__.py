"""Tests of voxrec.deliver."""
