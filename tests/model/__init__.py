"""Tests of voxrec.model."""
