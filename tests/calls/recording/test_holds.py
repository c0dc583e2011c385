"""Tests of voxrec.calls.recording.holds: every ``unheld`` in a timeline follows a ``held`` of the same party."""

from twisted.trial.unittest import SynchronousTestCase

from tests.calls.fake_asterisk import CallFixture
from tests.calls.test_call_machine import answered, ringing, talking
from voxrec.calls.recording.holds import Holds
from voxrec.calls.transfers.transfer_core import TransferRequest
from voxrec.model import Side, TimelineEntry


def holds(fixture: CallFixture) -> list[tuple[str, str | None]]:
    return [(one.event, one.by) for one in fixture.recording.timeline if one.event in ("held", "unheld")]


class HoldTests(SynchronousTestCase):
    def test_hold_and_its_end(self) -> None:
        fixture = talking()
        fixture.call.held(Side.CALLEE)
        fixture.call.held(Side.CALLER)
        fixture.call.unheld(Side.CALLEE)
        self.assertEqual(holds(fixture), [("held", "callee"), ("held", "caller"), ("unheld", "callee")])

    def test_end_without_a_beginning(self) -> None:
        fixture = talking()
        fixture.call.unheld(Side.CALLEE)
        self.assertEqual(holds(fixture), [])

    def test_repeated_reports(self) -> None:
        fixture = talking()
        for _ in range(2):
            fixture.call.held(Side.CALLER)
        for _ in range(2):
            fixture.call.unheld(Side.CALLER)
        self.assertEqual(holds(fixture), [("held", "caller"), ("unheld", "caller")])

    def test_hold_before_the_answer(self) -> None:
        fixture = ringing()
        fixture.call.held(Side.CALLEE)
        fixture.call.inputs.leg_answered()
        fixture.call.unheld(Side.CALLEE)
        self.assertEqual(holds(fixture), [("held", "callee"), ("unheld", "callee")])

    def test_hold_before_a_recording_on_demand(self) -> None:
        fixture = answered(record=False)
        fixture.call.held(Side.CALLER)
        fixture.call.record()
        fixture.call.unheld(Side.CALLER)
        self.assertEqual(holds(fixture), [("held", "caller"), ("unheld", "caller")])

    def test_party_that_holds_transfers_the_call(self) -> None:
        fixture = talking()
        fixture.call.held(Side.CALLEE)
        fixture.call.transferred(TransferRequest("sip:other@192.0.2.8", "1700.9"))
        fixture.call.unheld(Side.CALLEE)
        self.assertEqual(holds(fixture), [("held", "callee"), ("unheld", "callee")])

    def test_taken_over(self) -> None:
        taken = Holds()
        taken.take_over(
            TimelineEntry(at=at, event=event, by=by)
            for at, (event, by) in enumerate(
                [("held", "callee"), ("held", "caller"), ("unheld", "caller"), ("hangup", "voxrec"), ("held", None)]
            )
        )
        self.assertEqual(taken.sides, (Side.CALLEE,))
