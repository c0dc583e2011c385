"""Tests of voxrec.calls.stasis.stasis_session."""

import json
from collections.abc import Callable, Collection, Mapping
from typing import Any, cast
from uuid import UUID

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.calls.fake_asterisk import ProcessFixture, ProfileDirectory, make_profile
from tests.calls.test_admission import make_caller
from voxrec.ari import events
from voxrec.ari.transport import WebsocketTransport
from voxrec.calls.channels.takeover_state import CALL_VARIABLE
from voxrec.calls.stasis.stasis_session import StasisSession
from voxrec.errors import AsteriskUnavailable
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
