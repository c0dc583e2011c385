"""What others learn of live calls: from the router, as it happens and when they ask."""

from uuid import uuid4

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.calls.double import SETTINGS, Notebook, WillingAsterisk, nothing_known, profile
from voxrec.ari import events
from voxrec.ari.client import AriClient
from voxrec.calls.ids import owned_id
from voxrec.calls.router import Router
from voxrec.errors import NotFound
from voxrec.model import Call, EventType, Profile


class OnePage:
    """A Directory with one Profile."""

    confirmed = True

    def __init__(self) -> None:
        self.profile = profile()

    def find(self, dialled: str) -> Profile | None:
        return self.profile if dialled == "+4930222" else None


class Watching:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, int | None]] = []
        self.calls: list[Call] = []
        self.refused: list[int] = []

    def call_changed(self, happened: EventType, call: Call) -> None:
        self.told.append((happened.value, call.state.value, call.hangup_cause))
        self.calls.append(call)

    def call_refused(self, cause: int) -> None:
        self.refused.append(cause)


def caller(channel: str, dialled: str = "+4930222") -> events.StasisStart:
    of = events.Channel(
        id=channel, caller=events.CallerId(number="+4930111", name="Alice"), dialplan=events.Dialplan(exten=dialled)
    )
    return events.StasisStart(of, ("incoming",))


class WatchingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        self.asterisk = WillingAsterisk()
        self.watching = Watching()
        self.router = Router(
            self.clock,
            AriClient(self.asterisk, "voxrec"),
            OnePage(),
            Notebook(),
            SETTINGS,
            nothing_known,
            watchers=(self.watching,),
        )

    def leg(self, call: Call, state: str) -> events.Channel:
        return events.Channel(id=owned_id(call.id, "leg"), state=state)

    def ringing(self) -> Call:
        self.router.handle(caller("1700.1"))
        (call,) = self.router.list_calls()
        self.router.handle(events.StasisStart(self.leg(call, "Down"), ("leg",)))
        return call

    def test_a_call_from_its_beginning_to_its_end(self) -> None:
        call = self.ringing()
        for _ in range(2):  # a far end may say so several times
            self.router.handle(events.ChannelStateChange(self.leg(call, "Ringing")))
        self.clock.advance(4)
        self.router.handle(events.ChannelStateChange(self.leg(call, "Up")))
        self.clock.advance(6)
        self.router.handle(events.ChannelDestroyed(events.Channel(id="1700.1"), 16))
        self.assertEqual(
            self.watching.told,
            [
                ("call.started", "new", None),
                ("call.ringing", "ringing", None),
                ("call.answered", "connecting", None),
                ("call.ended", "clearing", 16),
            ],
        )
        ended = self.watching.calls[-1]
        answered_at, ended_at = ended.answered_at, ended.ended_at
        assert answered_at is not None
        assert ended_at is not None
        self.assertEqual((answered_at - ended.started_at).total_seconds(), 4)
        self.assertEqual((ended_at - ended.started_at).total_seconds(), 10)
        self.assertEqual((ended.age, ended.hangup_by), (10.0, "caller"))
        self.assertEqual((ended.from_, ended.from_name, ended.to), ("+4930111", "Alice", "+4930222"))
        self.assertIsNotNone(ended.recording_id)

    def test_a_far_end_that_does_not_answer(self) -> None:
        call = self.ringing()
        self.router.handle(events.ChannelDestroyed(self.leg(call, "Down"), 17))
        self.assertEqual(self.watching.told[-1], ("call.ended", "clearing", 17))
        self.assertIsNone(self.watching.calls[-1].answered_at)

    def test_a_caller_who_is_sent_away(self) -> None:
        self.router.handle(caller("1700.1", "+4930999"))
        self.assertEqual((self.watching.told, self.watching.refused), ([], [1]))

    def test_newest_first(self) -> None:
        self.router.handle(caller("1700.1"))
        self.clock.advance(5)
        self.router.handle(caller("1700.2"))
        newer, older = self.router.list_calls()
        self.assertEqual((newer.age, older.age), (0.0, 5.0))
        self.assertEqual(self.router.get_call(older.id), older)
        self.assertRaises(NotFound, self.router.get_call, uuid4())

    def test_hanging_up(self) -> None:
        call = self.ringing()
        self.asterisk.taken()
        for _ in range(2):
            self.router.release(call.id)
        self.assertEqual(
            self.asterisk.taken(), ["DELETE channels/1700.1", f"DELETE channels/{owned_id(call.id, 'leg')}"]
        )
        self.assertEqual((self.watching.calls[-1].hangup_by, len(self.watching.told)), ("voxrec", 2))
        self.assertRaises(NotFound, self.router.release, uuid4())
