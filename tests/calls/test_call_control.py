"""Tests of voxrec.calls.call_control, and of the events that the listeners of live calls are notified of."""

from uuid import uuid4

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.calls.fake_asterisk import ProcessFixture, ProfileDirectory, make_profile
from tests.calls.test_admission import make_caller
from voxrec.ari import events
from voxrec.calls.channels.ids import owned_id
from voxrec.errors import Conflict, NotFound
from voxrec.model import Call, EventType, PauseBehavior


class RecordingListener:
    """A CallListener that remembers all notifications."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, int | None]] = []
        self.calls: list[Call] = []
        self.refusals: list[int] = []

    def call_changed(self, event: EventType, call: Call) -> None:
        self.events.append((event.value, call.state.value, call.hangup_cause))
        self.calls.append(call)

    def call_refused(self, cause: int) -> None:
        self.refusals.append(cause)


class CallControlTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.listener = RecordingListener()
        self.process = ProcessFixture(ProfileDirectory(make_profile()), listeners=(self.listener,))
        self.router = self.process.router
        self.control = self.process.control

    def leg(self, call: Call, state: str) -> events.Channel:
        return events.Channel(id=owned_id(call.id, "leg"), state=state)

    def ringing_call(self) -> Call:
        self.process.inbound_call(make_caller())
        (call,) = self.control.list_calls()
        self.router.handle(events.StasisStart(self.leg(call, "Down"), ("leg",)))
        return call

    def test_events_of_a_call(self) -> None:
        call = self.ringing_call()
        for _ in range(2):  # a far end may report it several times
            self.router.handle(events.ChannelStateChange(self.leg(call, "Ringing")))
        self.process.clock.advance(4)
        self.router.handle(events.ChannelStateChange(self.leg(call, "Up")))
        self.process.clock.advance(6)
        self.router.handle(events.ChannelDestroyed(events.Channel(id="1700.1"), 16))
        self.assertEqual(
            self.listener.events,
            [
                ("call.started", "new", None),
                ("call.ringing", "ringing", None),
                ("call.answered", "connecting", None),
                ("call.ended", "clearing", 16),
            ],
        )
        ended = self.listener.calls[-1]
        answered_at, ended_at = ended.answered_at, ended.ended_at
        assert answered_at is not None
        assert ended_at is not None
        self.assertEqual((answered_at - ended.started_at).total_seconds(), 4)
        self.assertEqual((ended_at - ended.started_at).total_seconds(), 10)
        self.assertEqual((ended.age, ended.hangup_by), (10.0, "caller"))
        self.assertEqual((ended.from_, ended.from_name, ended.to), ("+4930111", "Alice", "100"))
        self.assertIsNotNone(ended.recording_id)

    def test_far_end_that_does_not_answer(self) -> None:
        call = self.ringing_call()
        self.router.handle(events.ChannelDestroyed(self.leg(call, "Down"), 17))
        self.assertEqual(self.listener.events[-1], ("call.ended", "clearing", 17))
        self.assertIsNone(self.listener.calls[-1].answered_at)

    def test_refused_call(self) -> None:
        self.process.inbound_call(make_caller(dialled="+4930999"))
        self.assertEqual((self.listener.events, self.listener.refusals), ([], [1]))

    def test_list_is_newest_first(self) -> None:
        self.process.inbound_call(make_caller())
        self.process.clock.advance(5)
        self.process.inbound_call(make_caller("1700.2"))
        newer, older = self.control.list_calls()
        self.assertEqual((newer.age, older.age), (0.0, 5.0))
        self.assertEqual(self.control.get_call(older.id), older)
        self.assertRaises(NotFound, self.control.get_call, uuid4())

    def test_release(self) -> None:
        call = self.ringing_call()
        self.process.asterisk.take_requests()
        for _ in range(2):
            self.control.release(call.id)
        self.assertEqual(
            self.process.asterisk.take_requests(),
            ["DELETE channels/1700.1", f"DELETE channels/{owned_id(call.id, 'leg')}"],
        )
        self.assertEqual((self.listener.calls[-1].hangup_by, len(self.listener.events)), ("voxrec", 2))
        self.assertRaises(NotFound, self.control.release, uuid4())

    def test_recording_without_a_live_call(self) -> None:
        self.failureResultOf(Deferred.fromCoroutine(self.control.pause(uuid4(), PauseBehavior.SILENCE, None)), Conflict)
        self.failureResultOf(Deferred.fromCoroutine(self.control.resume(uuid4())), Conflict)
