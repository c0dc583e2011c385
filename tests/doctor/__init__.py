"""Tests of voxrec.doctor."""
