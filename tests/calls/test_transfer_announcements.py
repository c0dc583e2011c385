"""Tests of voxrec.calls.transfer_announcements: what a party hears that joins a recorded call."""

from typing import Any

from tests.calls.fake_asterisk import CallFixture
from tests.calls.test_call_machine import answered, ringing
from tests.calls.transfers.test_replacements import TAKER, ReplacementTestCase
from tests.calls.transfers.test_transfer_machine import REQUEST, leg_of
from voxrec.ari.transport import AriResponseError
from voxrec.calls.channels.ids import owner_of
from voxrec.model import RecordPrompt, Side


def talking(**fields: Any) -> CallFixture:
    """Return a recorded call whose parties have heard the announcement."""
    fixture = answered(**{"record_prompt": RecordPrompt.DEFAULT, **fields})
    if fixture.call.recorder is not None:
        fixture.files.create(fixture.call)
    fixture.call.playback_finished("announcement", complete=True)
    fixture.take_requests()
    return fixture


class AnnouncementTests(ReplacementTestCase):
    def join(self, fixture: CallFixture, side: Side = Side.CALLEE) -> list[str]:
        """Replace a party, and return the announcements that are played to the bridge."""
        self.bridged(fixture, TAKER.id)
        fixture.call.replaced(side, TAKER)
        fixture.clock.advance(0.5)
        return self.played(fixture)

    def played(self, fixture: CallFixture) -> list[str]:
        played = [request.rpartition("/")[2] for request in fixture.asterisk.take_requests() if "/play/" in request]
        return [owner[1] for owner in map(owner_of, played) if owner is not None and "announcement" in owner[1]]

    def entries(self, fixture: CallFixture) -> list[tuple[str, str | None]]:
        return [(entry.event, entry.detail) for entry in fixture.recording.timeline if "announcement" in entry.event]

    def test_a_party_that_replaces_another_one_hears_it(self) -> None:
        for side in Side:
            fixture = talking()
            (role,) = self.join(fixture, side)
            self.assertEqual(fixture.call.status, "talking")
            fixture.call.playback_finished(role, complete=True)
            expected = [("announcement.started", "transfer"), ("announcement.finished", "transfer")]
            self.assertEqual(self.entries(fixture)[2:], expected)

    def test_the_target_of_a_transfer_hears_it_when_it_has_answered(self) -> None:
        fixture = talking()
        fixture.call.transferred(REQUEST)
        fixture.call.leg_entered(leg_of(fixture), "PJSIP/trunk-3")
        self.assertEqual(self.played(fixture), [])
        fixture.call.inputs.leg_answered()
        self.assertEqual(len(self.played(fixture)), 1)

    def test_a_party_that_joins_while_it_is_played_hears_it_from_its_beginning(self) -> None:
        fixture = answered(record_prompt=RecordPrompt.DEFAULT)
        fixture.files.create(fixture.call)
        fixture.take_requests()
        self.assertEqual(len(self.join(fixture)), 1)
        self.assertEqual(fixture.call.status, "announcing")

    def test_a_party_that_joins_before_hears_the_first_one(self) -> None:
        for make in (ringing, answered):
            fixture = make(record_prompt=RecordPrompt.DEFAULT)
            fixture.take_requests()
            self.assertEqual(self.join(fixture), [])

    def test_it_is_not_played_without_a_recording_or_against_the_profile(self) -> None:
        for fields in (
            {"record": False},
            {"record_prompt": RecordPrompt.NONE},
            {"record_prompt_on_transfer": False},
        ):
            self.assertEqual(self.join(talking(**fields)), [], fields)
        stopped = talking()
        stopped.call.stop_recording("disk-full")
        stopped.call.inputs.recording_closed()
        self.assertEqual(self.join(stopped), [])

    def test_a_required_one_that_fails_ends_the_recording_which_is_kept(self) -> None:
        fixture = talking(record_prompt_required=True)
        (role,) = self.join(fixture)
        fixture.call.playback_finished(role, complete=False)
        events = [(entry.event, entry.detail) for entry in fixture.recording.timeline]
        self.assertIn(("announcement.failed", "transfer"), events)
        self.assertIn(("recording.stopped", "announcement.failed"), events)
        self.assertTrue(fixture.recording.prompt_played)
        self.assertEqual(fixture.call.status, "talking")
        self.flushLoggedErrors()

    def test_a_failure_is_noted_and_the_recording_continues_unless_it_is_required(self) -> None:
        fixture = talking()
        fixture.asterisk.errors = {"announcement-1700000000500": 500}
        self.join(fixture)
        self.assertEqual(self.entries(fixture)[-1], ("announcement.failed", "transfer"))
        self.assertTrue(fixture.call.recording is not None and fixture.call.recording.state.live)
        self.flushLoggedErrors(AriResponseError)

    def test_the_end_of_the_call_is_no_failure(self) -> None:
        fixture = talking(record_prompt_required=True)
        (role,) = self.join(fixture)
        fixture.call.inputs.release(16)
        fixture.call.playback_finished(role, complete=False)
        self.assertNotIn("announcement.failed", [entry.event for entry in fixture.recording.timeline])
