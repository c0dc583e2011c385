"""Tests of voxrec.calls.stasis.stasis_session."""

import json
from collections.abc import Callable, Collection, Mapping
from typing import Any, cast
from uuid import UUID

from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from tests.calls.fake_asterisk import ProcessFixture, ProfileDirectory, make_profile
from tests.calls.test_admission import make_caller
from voxrec.ari import events
from voxrec.ari.transport import WebsocketTransport
from voxrec.calls.channels.takeover_state import CALL_VARIABLE
from voxrec.calls.stasis.stasis_session import StasisSession
from voxrec.errors import AsteriskUnavailable, StoreUnavailable
from voxrec.model import Recording, RecordingState, Side


class ClosedTransport:
    async def request(self, *_: object) -> bytes:
        raise AsteriskUnavailable("closed")


def make_session(
    process: ProcessFixture, close_stream: Callable[[], object] = lambda: None, **options: Any
) -> StasisSession:
    """Return a session of this process that checks no announcements, and has no lease unless the options have one."""
    unused: Any = None
    return StasisSession(
        process.clock,
        process.client,
        process.live_calls,
        process.router,
        process.reconciler,
        unused,
        announcement_check=unused,
        close_stream=close_stream,
        **options,
    )


class FakeUnfinishedRecordings:
    """Counts the searches; they fail with ``error``."""

    def __init__(self) -> None:
        self.searches = 0
        self.error: Exception | None = None

    async def finish_all(self) -> None:
        self.searches += 1
        if self.error is not None:
            raise self.error


class FakeAnnouncementCheck:
    async def asterisk_connected(self) -> None:
        pass

    def asterisk_disconnected(self) -> None:
        pass


class FailureTests(SynchronousTestCase):
    """What fails after the connect, and what the log says of it."""

    def setUp(self) -> None:
        self.process = ProcessFixture(ProfileDirectory(make_profile()))
        self.process.asterisk.responses = {
            "GET channels": b"[]", "GET bridges": b"[]", "GET applications/voxrec": b'{"channel_ids": []}',
        }  # fmt: skip
        self.unfinished = FakeUnfinishedRecordings()
        check: Any = FakeAnnouncementCheck()
        unfinished: Any = self.unfinished
        self.session = StasisSession(
            self.process.clock,
            self.process.client,
            self.process.live_calls,
            self.process.router,
            self.process.reconciler,
            unfinished,
            announcement_check=check,
            close_stream=lambda: None,
        )

    def connect(self) -> None:
        self.session.stream_connected(cast("WebsocketTransport", ClosedTransport()))

    def reconciliations(self) -> int:
        return self.process.asterisk.take_requests().count("GET bridges")

    def test_reconciliation_is_not_repeated_while_postgresql_is_away(self) -> None:
        self.unfinished.error = StoreUnavailable("PostgreSQL is unavailable: not connected yet")
        with capturedLogs() as logs:
            self.connect()
            self.process.clock.pump([0.5] * 240)
            self.assertEqual((self.reconciliations(), self.unfinished.searches), (1, 1))
            for _ in range(3):  # the timer
                self.successResultOf(Deferred.fromCoroutine(self.session.finish_recordings()))
        problems = [str(formatEvent(event)) for event in logs if event["log_level"].name != "info"]
        self.assertEqual(len(problems), 1, problems)
        self.assertIn("the search for unfinished recordings failed", problems[0])

    def test_a_search_that_fails_later_is_reported_again(self) -> None:
        with capturedLogs() as logs:
            self.connect()
            for error in (StoreUnavailable("a"), None, StoreUnavailable("b")):
                self.unfinished.error = error
                self.successResultOf(Deferred.fromCoroutine(self.session.finish_recordings()))
        self.assertEqual(len([event for event in logs if event["log_level"].name == "warn"]), 2)

    def test_a_reconciliation_that_fails_for_long_is_reported_once_and_when_it_succeeds(self) -> None:
        self.process.asterisk.errors = {"GET bridges": 500}
        with capturedLogs() as logs:
            self.connect()
            self.process.clock.pump([2.0] * 2000)
            self.assertEqual(self.reconciliations(), 2001)
            self.process.asterisk.errors = {}
            self.process.clock.advance(2.0)
        texts = [str(formatEvent(event)) for event in logs]
        self.assertEqual(len([text for text in texts if "reconciliation with Asterisk failed" in text]), 1, texts)
        self.assertEqual(texts[-1], "reconciliation with Asterisk has succeeded")
        self.assertEqual((self.unfinished.searches, self.process.clock.getDelayedCalls()), (1, []))

    def test_a_reconciliation_ends_with_its_connection(self) -> None:
        self.process.asterisk.errors = {"GET bridges": 500}
        self.connect()
        self.session.stream_disconnected()
        self.reconciliations()
        self.process.clock.pump([2.0] * 10)
        self.assertEqual((self.reconciliations(), self.unfinished.searches), (0, 0))
        self.assertEqual(self.process.clock.getDelayedCalls(), [])


class StasisSessionTests(SynchronousTestCase):
    def test_application_replaced(self) -> None:
        process = ProcessFixture(ProfileDirectory(make_profile(record_beep_interval=5)))
        closed: list[bool] = []
        session = make_session(process, lambda: closed.append(True))
        session.event_received(events.StasisStart(make_caller(), ("incoming",)))
        (call,) = process.calls
        process.answer(call)
        call.digit_received(Side.CALLER, "1")  # an entry of the timeline that is not stored yet
        process.asterisk.take_requests()
        self.assertFalse(session.replaced)
        session.event_received(events.ApplicationReplaced("voxrec"))
        self.assertTrue(session.replaced)
        self.assertEqual((closed, process.calls, process.asterisk.take_requests()), ([True], [], []))
        last = process.sink.recordings[-1]
        self.assertEqual([entry.event for entry in last.timeline][-1], "dtmf")
        self.assertEqual((last.state, process.clock.getDelayedCalls()), (RecordingState.RECORDING, []))
        session.event_received(events.StasisStart(make_caller("1700.2"), ("incoming",)))
        self.assertEqual(process.calls, [])

    def test_another_voxrec_has_the_application_until_it_is_connected_again(self) -> None:
        process = ProcessFixture(ProfileDirectory(make_profile()))
        closed: list[bool] = []

        async def stand_by() -> bool:
            return True

        session = make_session(process, lambda: closed.append(True), stand_by=stand_by)
        session.event_received(events.ApplicationReplaced("voxrec"))
        session.yield_application("voxrec")  # the lease reports it, too
        self.assertEqual((session.replaced, closed, process.live_calls.detached), (True, [], True))
        session.event_received(events.StasisStart(make_caller(), ("incoming",)))
        self.assertEqual(process.calls, [])
        session.stream_connected(cast("WebsocketTransport", ClosedTransport()))
        self.assertEqual((session.replaced, process.live_calls.detached), (False, False))
        self.flushLoggedErrors()  # this Asterisk has no channels to reconcile
        session.event_received(events.StasisStart(make_caller("1700.2"), ("incoming",)))
        self.assertEqual(len([*process.calls]), 1)

    def test_a_caller_that_waits_does_not_wait_for_the_calls_that_are_taken_over(self) -> None:
        """The Recordings of those are looked up in PostgreSQL, which may not be available."""
        former = ProcessFixture(ProfileDirectory(make_profile()))
        former.inbound_call(make_caller())
        (call,) = former.calls
        former.answer(call)
        created: Any = former.asterisk.bodies["POST channels/create"]
        recordings: Deferred[Mapping[UUID, Recording]] = Deferred()

        async def look_up(_: Collection[UUID]) -> Mapping[UUID, Recording]:
            return await recordings

        process = ProcessFixture(ProfileDirectory(make_profile()), find_recordings=look_up)
        state = json.dumps({"value": created["variables"][CALL_VARIABLE]}).encode()
        process.asterisk.responses = {
            f"GET channels/{call.leg}/variable": state,
            "GET channels": json.dumps([
                {"id": "1700.1", "state": "Up"},
                {"id": call.leg, "state": "Up"},
                {"id": "1700.2", "state": "Ring", "name": "PJSIP/trunk-5", "dialplan": {"exten": "100"}},
            ]).encode(),
            "GET applications/voxrec": json.dumps({"channel_ids": ["1700.1", "1700.2", call.leg]}).encode(),
            "GET bridges": b"[]",
        }  # fmt: skip
        session = make_session(process)
        session.stream_connected(cast("WebsocketTransport", ClosedTransport()))
        process.clock.advance(2)
        self.assertEqual(
            {one.inbound.channel: one.status for one in process.calls}, {"1700.1": "new", "1700.2": "placing"}
        )
