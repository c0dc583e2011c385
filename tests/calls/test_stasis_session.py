"""Tests of voxrec.calls.stasis_session."""

from typing import Any, cast

from twisted.trial.unittest import SynchronousTestCase

from tests.calls.fake_asterisk import ProcessFixture, ProfileDirectory, make_profile
from tests.calls.test_admission import make_caller
from voxrec.ari import events
from voxrec.ari.transport import WebsocketTransport
from voxrec.calls.stasis_session import StasisSession
from voxrec.errors import AsteriskUnavailable
from voxrec.model import RecordingState, Side


class ClosedTransport:
    async def request(self, *_: object) -> bytes:
        raise AsteriskUnavailable("closed")


class StasisSessionTests(SynchronousTestCase):
    def test_application_replaced(self) -> None:
        process = ProcessFixture(ProfileDirectory(make_profile(record_beep_interval=5)))
        closed: list[bool] = []
        unused: Any = None
        session = StasisSession(
            process.clock,
            process.client,
            process.live_calls,
            process.router,
            process.reconciler,
            unused,
            announcement_check=unused,
            close_stream=lambda: closed.append(True),
        )
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
        unused: Any = None

        async def stand_by() -> bool:
            return True

        session = StasisSession(
            process.clock,
            process.client,
            process.live_calls,
            process.router,
            process.reconciler,
            unused,
            announcement_check=unused,
            close_stream=lambda: closed.append(True),
            stand_by=stand_by,
        )
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
