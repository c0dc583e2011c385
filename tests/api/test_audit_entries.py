"""Tests of voxrec.api.audit_entries. The entries of requests are in tests.api.test_audit_middleware."""

from twisted.trial.unittest import SynchronousTestCase

from tests.subtest import subtest
from voxrec.api.audit_entries import resource_kind


class ResourceKindTests(SynchronousTestCase):
    def test_kind_by_path(self) -> None:
        for path, kind in (
            ("/profiles", "profile"),
            ("/profiles/<id>", "profile"),
            ("/profiles/<profileId>/recordings", "recording"),
            ("/profiles/<profileId>/recordings/<id>", "recording"),
            ("/recordings/<id>/audio", "recording audio"),
            ("/tokens/<id>", "token"),
        ):
            with subtest(path):
                self.assertEqual(resource_kind(path), kind)
