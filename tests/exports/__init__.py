"""Tests of voxrec.exports."""
