"""Tests of voxrec.sandbox that need no root file system; those that do are in tests.live."""
