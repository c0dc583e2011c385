"""Tests of voxrec.cli."""
