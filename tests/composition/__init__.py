"""Tests of voxrec.composition."""
