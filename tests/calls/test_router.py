"""From event to call: who is put through, who is refused with which status, and what is caught up after a gap."""

import json
from collections.abc import Collection
from typing import Any
from uuid import UUID

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.calls.double import SETTINGS, Notebook, WillingAsterisk, profile
from voxrec.ari import events
from voxrec.ari.client import AriClient
from voxrec.calls.router import OrphanedChannels, Router
from voxrec.model import Profile, Recording, RecordingState, Side, leg_name

CALLER = events.Channel(
    id="1700.1",
    name="PJSIP/trunk-1",
    state="Ring",
    caller=events.CallerId(name="Alice", number="+4930111"),
    dialplan=events.Dialplan(exten="100"),
)


class Known:
    """A Directory with one Profile, under 100."""

    def __init__(self, found: Profile | None) -> None:
        self.found = found
        self.confirmed = True

    def find(self, dialled: str) -> Profile | None:
        return self.found if dialled == "100" else None


class RouterTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.asterisk = WillingAsterisk()
        self.directory = Known(profile())
        self.ledger = Notebook()
        self.known: dict[UUID, Recording] = {}
        self.router = self.new_router()

    def new_router(self, *allowed_hosts: str) -> Router:
        client = AriClient(self.asterisk, "voxrec")
        return Router(
            self.clock, client, self.directory, self.ledger, SETTINGS, self.recall, allowed_hosts=allowed_hosts
        )

    async def recall(self, recording_ids: Collection[UUID]) -> dict[UUID, Recording]:
        return {one: self.known[one] for one in recording_ids if one in self.known}

    def call(self, channel: events.Channel = CALLER) -> None:
        self.router.handle(events.StasisStart(channel, ("incoming",)))

    def talk(self) -> Any:
        """Bring a call to where both talk and are recorded."""
        self.call()
        (call,) = self.router.calls
        self.router.handle(events.StasisStart(events.Channel(id=call.leg), ("leg",)))
        self.router.handle(events.ChannelStateChange(events.Channel(id=call.leg, state="Up")))
        for side in Side:
            self.router.handle(events.RecordingStarted(events.LiveRecording(leg_name(call.recording_id, side))))
        self.assertEqual(call.status, "talking")
        self.asterisk.taken()
        return call


class IncomingTests(RouterTestCase):
    def assert_refused(self, reason: str) -> None:
        self.call()
        self.assertEqual(self.asterisk.taken(), ["DELETE channels/1700.1"])
        self.assertEqual(self.asterisk.queries["DELETE channels/1700.1"], {"reason": reason})
        self.assertEqual(list(self.router.calls), [])

    def test_an_unknown_profile_is_404(self) -> None:
        self.directory.found = None
        self.assert_refused("unallocated")

    def test_a_profile_without_a_far_end_is_480(self) -> None:
        self.directory.found = profile(remote_sip_uri=None)
        self.assert_refused("no_answer")

    def test_a_far_end_that_is_not_allowed_is_403(self) -> None:
        self.router = self.new_router("192.0.2.8")
        self.assert_refused("rejected")

    def test_an_unknown_profile_is_503_until_postgresql_has_confirmed_them(self) -> None:
        self.directory.confirmed = False
        self.directory.found = None
        self.assert_refused("congestion")

    def test_who_was_known_to_the_last_run_is_put_through_before_that(self) -> None:
        self.directory.confirmed = False
        self.call()
        self.assertEqual(len(list(self.router.calls)), 1)

    def test_while_voxrec_stops_it_is_503(self) -> None:
        self.router.refuse_new_calls()
        self.assert_refused("congestion")

    def test_who_is_known_is_put_through(self) -> None:
        self.call()
        (call,) = self.router.calls
        self.assertEqual(
            (call.incoming.number, call.incoming.name, call.incoming.dialled), ("+4930111", "Alice", "100")
        )
        self.assertEqual(call.status, "placing")

    def test_a_channel_that_belongs_to_no_call_is_ended(self) -> None:
        leg = "voxrec-10000000-0000-4000-8000-000000000009-leg"
        for channel in (leg, "somebody", "voxrec-nonsense-leg"):
            self.router.handle(events.StasisStart(events.Channel(id=channel), ("leg",)))
            self.assertEqual(self.asterisk.taken(), [f"DELETE channels/{channel}"])


class EventTests(RouterTestCase):
    def test_each_event_reaches_its_call_and_no_other(self) -> None:
        first = self.talk()
        self.call(events.Channel(id="1700.2", dialplan=events.Dialplan(exten="100")))
        _, second = self.router.calls
        self.router.handle(events.ChannelDestroyed(events.Channel(id=first.leg), 16))
        self.assertEqual((first.status, second.status), ("clearing", "placing"))

    def test_events_of_nobody_do_nothing(self) -> None:
        channel = events.Channel(id="nobody", state="Up")
        for event in (
            events.StasisEnd(channel),
            events.ChannelDestroyed(channel, 16),
            events.ChannelStateChange(channel),
            events.PlaybackFinished(events.Playback("beep")),
            events.RecordingStarted(events.LiveRecording("theirs")),
            events.RecordingFinished(events.LiveRecording("voxrec-10000000-0000-4000-8000-000000000009-caller")),
            events.ChannelHold(channel),
        ):
            self.router.handle(event)
        self.assertEqual(self.asterisk.taken(), [])

    def test_a_call_ends_with_its_last_file(self) -> None:
        call = self.talk()
        empty = self.router.when_empty()
        self.router.handle(events.StasisEnd(CALLER))
        self.router.handle(events.ChannelDestroyed(events.Channel(id=call.leg), 16))
        self.assertNoResult(empty)
        for side in Side:
            self.router.handle(events.RecordingFinished(events.LiveRecording(leg_name(call.recording_id, side))))
        self.successResultOf(empty)
        self.assertEqual(list(self.router.calls), [])
        self.assertEqual(self.ledger.entries[-1].state, RecordingState.PROCESSING)

    def test_all_can_be_ended(self) -> None:
        call = self.talk()
        self.router.release_all()
        self.assertEqual(self.asterisk.taken(), ["DELETE channels/1700.1", f"DELETE channels/{call.leg}"])


class ReconcileTests(RouterTestCase):
    def reconcile(
        self, channels: dict[str, str], *, bridges: tuple[str, ...] = (), files: tuple[str, ...] = ()
    ) -> OrphanedChannels:
        """Catch up with an Asterisk that has these channels (and their states), bridges and recordings."""
        answers = self.asterisk.answers
        answers["GET channels"] = json.dumps([{"id": id_, "state": state} for id_, state in channels.items()]).encode()
        answers["GET applications/voxrec"] = json.dumps({"channel_ids": list(channels)}).encode()
        answers["GET bridges"] = json.dumps([{"id": bridge} for bridge in bridges]).encode()
        self.asterisk.refuse = {leg_name(call.recording_id, side): 404 for call in self.router.calls for side in Side}
        for name in files:
            del self.asterisk.refuse[name]
            answers[f"GET recordings/live/{name}"] = json.dumps({"name": name}).encode()
        return self.successResultOf(Deferred.fromCoroutine(self.router.reconcile()))

    def test_a_call_that_ended_unnoticed_is_over(self) -> None:
        self.talk()
        self.reconcile({})
        self.assertEqual(list(self.router.calls), [])
        self.assertEqual(self.ledger.entries[-1].state, RecordingState.PROCESSING)

    def test_a_call_that_goes_on_goes_on(self) -> None:
        call = self.talk()
        files = tuple(leg_name(call.recording_id, side) for side in Side)
        strays = self.reconcile({"1700.1": "Up", call.leg: "Up"}, bridges=(f"voxrec-{call.id}-bridge",), files=files)
        self.assertEqual(call.status, "talking")
        self.assertEqual(strays, OrphanedChannels(frozenset(), frozenset()))

    def test_an_answer_that_was_missed_is_caught_up(self) -> None:
        self.call()
        (call,) = self.router.calls
        self.reconcile({"1700.1": "Ring", call.leg: "Up"})
        self.assertEqual(call.status, "connecting")

    def test_a_call_that_comes_while_asterisk_is_asked(self) -> None:
        """The answer is older than the call."""
        self.asterisk.meanwhile["GET channels"] = self.call
        self.reconcile({})
        (call,) = self.router.calls
        self.assertEqual(call.status, "placing")

    def test_a_leg_that_comes_while_asterisk_is_asked(self) -> None:
        self.call()
        (call,) = self.router.calls
        self.asterisk.meanwhile["GET channels"] = lambda: self.router.handle(
            events.StasisStart(events.Channel(id=call.leg), ("leg",))
        )
        self.reconcile({CALLER.id: "Ring"})
        self.assertEqual(call.status, "ringing")

    def test_a_caller_who_left_while_one_half_was_recorded(self) -> None:
        call = self.talk()
        self.reconcile({call.leg: "Up"})
        self.assertEqual(call.status, "clearing")
        self.assertIn(f"DELETE channels/{call.leg}", self.asterisk.taken())

    def test_what_belongs_to_nobody_is_told_and_removed(self) -> None:
        bridge = "voxrec-10000000-0000-4000-8000-000000000009-bridge"
        strays = self.reconcile({"1600.1": "Up"}, bridges=(bridge, "somebody else's"))
        self.assertEqual(strays, OrphanedChannels(frozenset({"1600.1"}), frozenset({bridge})))
        self.asterisk.taken()
        still = strays.still(OrphanedChannels(frozenset({"1600.1", "other"}), frozenset({bridge})))
        self.successResultOf(Deferred.fromCoroutine(self.router.clear_away(still)))
        self.assertEqual(self.asterisk.taken()[1:], ["DELETE channels/1600.1", f"DELETE bridges/{bridge}"])
