"""Tests of voxrec.model.recording."""

from uuid import UUID

from twisted.trial.unittest import SynchronousTestCase

from voxrec.model import Side, leg_name


class LegNameTests(SynchronousTestCase):
    def test_it_contains_the_recording_and_the_party(self) -> None:
        recording = UUID("10000000-0000-4000-8000-000000000001")
        self.assertEqual(leg_name(recording, Side.CALLEE), f"voxrec-{recording}-callee")
