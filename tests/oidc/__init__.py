"""Tests of voxrec.oidc."""
