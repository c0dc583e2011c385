"""Tests of voxrec.sandbox that need no root file system; tests.live has those that do."""
