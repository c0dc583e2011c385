"""Tests of voxrec.ari."""
