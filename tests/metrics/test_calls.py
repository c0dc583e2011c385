"""Tests of voxrec.metrics.calls."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from twisted.trial.unittest import SynchronousTestCase

from tests.metrics.samples import samples
from voxrec.metrics import Metrics
from voxrec.model import Call, CallState, EventType

STARTED_AT = datetime(2026, 1, 1, tzinfo=UTC)


def call(*, hangup_cause: int, answered_at: datetime | None) -> Call:
    return Call(
        id=UUID(int=1),
        profile_id=UUID(int=2),
        state=CallState.CLEARING,
        age=0,
        to="+4930222",
        started_at=STARTED_AT,
        answered_at=answered_at,
        hangup_cause=hangup_cause,
    )


class CallMetricsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.metrics = Metrics("1.2.3")

    def test_calls_by_outcome_and_cause(self) -> None:
        answered = call(hangup_cause=16, answered_at=STARTED_AT + timedelta(seconds=4))
        self.metrics.calls.call_changed(EventType.CALL_STARTED, answered)
        self.metrics.calls.call_changed(EventType.CALL_ANSWERED, answered)
        self.metrics.calls.call_changed(EventType.CALL_ENDED, answered)
        self.metrics.calls.call_changed(EventType.CALL_ENDED, call(hangup_cause=17, answered_at=None))
        self.metrics.calls.call_refused(1)
        self.assertEqual(
            samples(self.metrics, "voxrec_calls_total"),
            {("16", "answered"): 1, ("17", "unanswered"): 1, ("1", "refused"): 1},
        )
        self.assertEqual(samples(self.metrics, "voxrec_call_setup_seconds_sum"), {(): 4.0})
