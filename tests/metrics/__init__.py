"""Tests of voxrec.metrics."""
