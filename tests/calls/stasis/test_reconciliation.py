"""Tests of voxrec.calls.stasis.reconciliation: missed events, taken-over calls and orphaned channels."""

import json
from collections.abc import Callable, Collection, Mapping
from typing import Any
from uuid import UUID

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.calls.fake_asterisk import MONITOR, ProcessFixture, ProfileDirectory, make_profile
from tests.calls.test_admission import make_caller
from voxrec.ari import events
from voxrec.ari.transport import AriResponseError
from voxrec.calls.channels.takeover_state import CALL_VARIABLE
from voxrec.calls.live_call import LiveCall
from voxrec.calls.recording.recording_commands import MONITOR_VARIABLE
from voxrec.calls.stasis.reconciliation import OrphanedChannels
from voxrec.calls.transfers.transfer_core import TransferRequest
from voxrec.model import Recording, RecordingState

CALLER = make_caller()


class ReconciliationTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.known: dict[UUID, Recording] = {}
        self.during_lookup: Callable[[], object] = lambda: None
        self.process = self.make_process()

    def make_process(self) -> ProcessFixture:
        return ProcessFixture(ProfileDirectory(make_profile()), find_recordings=self.find_recordings)

    async def find_recordings(self, recording_ids: Collection[UUID]) -> Mapping[UUID, Recording]:
        self.during_lookup()
        return {one: self.known[one] for one in recording_ids if one in self.known}

    def talk(self) -> LiveCall:
        """Make a call in which both parties talk and are recorded."""
        self.process.inbound_call(CALLER)
        (call,) = self.process.calls
        self.process.answer(call)
        self.assertEqual(call.status, "talking")
        self.process.asterisk.take_requests()
        return call

    def set_state(
        self,
        channels: Mapping[str, str],
        *,
        channel_names: Mapping[str, str] | None = None,
        bridges: Mapping[str, list[str]] | None = None,
    ) -> None:
        """Set the channels in Asterisk with their states and names, and the bridges."""
        asterisk = self.process.asterisk
        listed = [
            {"id": id_, "state": state, "name": (channel_names or {}).get(id_, "")} for id_, state in channels.items()
        ]
        listed_bridges = [{"id": id_, "channels": inside} for id_, inside in (bridges or {}).items()]
        asterisk.responses["GET channels"] = json.dumps(listed).encode()
        asterisk.responses["GET applications/voxrec"] = json.dumps({"channel_ids": list(channels)}).encode()
        asterisk.responses["GET bridges"] = json.dumps(listed_bridges).encode()
        asterisk.errors = {"-announcement": 404}

    def reconcile(self, channels: Mapping[str, str], **state: Any) -> OrphanedChannels:
        """Reconcile with an Asterisk in a state; see `set_state`."""
        self.set_state(channels, **state)
        return self.successResultOf(Deferred.fromCoroutine(self.process.reconciler.reconcile()))


class MissedEventTests(ReconciliationTestCase):
    def test_call_that_ended_is_over(self) -> None:
        call = self.talk()
        self.reconcile({})
        self.process.files.close(call)
        self.assertEqual(self.process.calls, [])
        self.assertEqual(self.process.sink.recordings[-1].state, RecordingState.PROCESSING)

    def test_call_that_continues(self) -> None:
        call = self.talk()
        bridges = {f"voxrec-{call.id}-bridge": ["1700.1", call.leg]}
        orphaned = self.reconcile({"1700.1": "Up", call.leg: "Up"}, bridges=bridges)
        assert call.recording is not None
        self.assertEqual((call.status, call.recording.state), ("talking", RecordingState.RECORDING))
        self.assertEqual(orphaned, OrphanedChannels(frozenset(), frozenset()))

    def test_missed_answer(self) -> None:
        self.process.inbound_call(CALLER)
        (call,) = self.process.calls
        self.reconcile({"1700.1": "Ring", call.leg: "Up"})
        self.assertEqual(call.status, "connecting")

    def lose_connection(self) -> LiveCall:
        """Make a call whose caller Asterisk was told to connect, without a response."""
        self.process.asterisk.lost.add("addChannel")
        self.process.inbound_call(CALLER)
        (call,) = self.process.calls
        self.process.asterisk.lost.clear()
        self.process.router.handle(events.StasisStart(events.Channel(id=call.leg), ("leg",)))
        self.process.asterisk.lost.add("addChannel")
        self.process.router.handle(events.ChannelStateChange(events.Channel(id=call.leg, state="Up")))
        self.process.asterisk.lost.clear()
        self.assertEqual(call.status, "connecting")
        self.process.asterisk.take_requests()
        return call

    def test_caller_that_was_not_connected(self) -> None:
        call = self.lose_connection()
        bridge = f"voxrec-{call.id}-bridge"
        self.reconcile({"1700.1": "Ring", call.leg: "Up"}, bridges={bridge: [call.leg]})
        requests = self.process.asterisk.take_requests()
        self.assertIn("POST channels/1700.1/answer", requests)
        self.assertIn(f"POST bridges/{bridge}/addChannel", requests)

    def test_caller_that_was_connected_nevertheless(self) -> None:
        call = self.lose_connection()
        bridge = f"voxrec-{call.id}-bridge"
        self.reconcile({"1700.1": "Up", call.leg: "Up"}, bridges={bridge: [call.leg, "1700.1"]})
        self.assertTrue(call.core.connection.is_connected)
        self.assertNotIn(f"POST bridges/{bridge}/addChannel", self.process.asterisk.take_requests())

    def test_call_that_begins_after_the_snapshot(self) -> None:
        self.process.asterisk.before_response["GET channels"] = lambda: self.process.inbound_call(CALLER)
        self.reconcile({})
        (call,) = self.process.calls
        self.assertEqual(call.status, "placing")

    def test_leg_that_enters_after_the_snapshot(self) -> None:
        self.process.inbound_call(CALLER)
        (call,) = self.process.calls
        self.process.asterisk.before_response["GET channels"] = lambda: self.process.router.handle(
            events.StasisStart(events.Channel(id=call.leg), ("leg",))
        )
        self.reconcile({CALLER.id: "Ring"})
        self.assertEqual(call.status, "ringing")

    def test_caller_that_hung_up(self) -> None:
        call = self.talk()
        self.reconcile({call.leg: "Up"})
        self.assertEqual(call.status, "clearing")
        self.assertIn(f"DELETE channels/{call.leg}", self.process.asterisk.take_requests())

    def test_replaced_leg_that_hung_up(self) -> None:
        call = self.talk()
        call.transferred(TransferRequest("sip:third@192.0.2.9", "local;2"))
        former = call.former_legs
        self.reconcile({"1700.1": "Up", call.leg: "Down", "local;2": "Up"})
        self.assertEqual((len(former), call.former_legs, call.status), (1, [], "talking"))


class OrphanTests(ReconciliationTestCase):
    def end(self, orphaned: OrphanedChannels) -> list[str]:
        self.process.asterisk.take_requests()
        self.successResultOf(Deferred.fromCoroutine(self.process.reconciler.end_orphaned(orphaned)))
        return [request for request in self.process.asterisk.take_requests() if not request.startswith("GET ")]

    def test_orphans_are_found_and_ended(self) -> None:
        bridge = "voxrec-10000000-0000-4000-8000-000000000009-bridge"
        orphaned = self.reconcile({"1600.1": "Up"}, bridges={bridge: [], "of another program": []})
        self.assertEqual(orphaned, OrphanedChannels(frozenset({"1600.1"}), frozenset({bridge})))
        still = orphaned.still_orphaned(OrphanedChannels(frozenset({"1600.1", "other"}), frozenset({bridge})))
        self.assertEqual(self.end(still), ["DELETE channels/1600.1", f"DELETE bridges/{bridge}"])

    def test_bridges_of_waiting_callers(self) -> None:
        call = self.talk()
        left = "voxrec-10000000-0000-4000-8000-000000000009-waiting"
        bridges = {f"voxrec-{call.id}-bridge": ["1700.1", call.leg], f"voxrec-{call.id}-waiting": [], left: []}
        orphaned = self.reconcile({"1700.1": "Up", call.leg: "Up"}, bridges=bridges)
        self.assertEqual(orphaned, OrphanedChannels(bridges=frozenset({left})))
        self.assertEqual(self.end(orphaned), [f"DELETE bridges/{left}"])

    def test_placeholders_of_live_calls_are_not_orphans(self) -> None:
        call = self.talk()
        call.transferred(TransferRequest("sip:third@192.0.2.9", "local;2"))
        names = {"local;1": "Local/x@voxrec-transfer-1;1", "local;2": "Local/x@voxrec-transfer-1;2"}
        channels = {"1700.1": "Up", call.leg: "Down", "local;1": "Up", "local;2": "Ring"}
        bridges = {f"voxrec-{call.id}-bridge": ["1700.1", call.leg, "local;1"]}
        self.assertFalse(self.reconcile(channels, bridges=bridges, channel_names=names))

    def test_parties_that_an_operator_has_taken_out_of_the_bridge_are_put_back(self) -> None:
        call = self.talk()
        bridge = f"voxrec-{call.id}-bridge"
        orphaned = self.reconcile({"1700.1": "Up", call.leg: "Up"}, bridges={bridge: [call.leg]})
        self.assertEqual(orphaned, OrphanedChannels(unbridged=frozenset({(bridge, "1700.1")})))
        self.assertFalse(orphaned.still_orphaned(OrphanedChannels()))
        self.assertEqual(self.end(orphaned.still_orphaned(orphaned)), [f"POST bridges/{bridge}/addChannel"])
        call.inputs.detach()
        self.process.live_calls.detach_all()
        self.assertEqual(self.end(orphaned), [])

    def test_placeholder_without_a_call_is_no_caller(self) -> None:
        """Like a caller that waits, it has the state Ring, and what it dialled may be the number of a Profile."""
        channel = {
            "id": "local;2",
            "state": "Ring",
            "name": "Local/100@voxrec-transfer-1;2",
            "dialplan": {"exten": "100"},
        }
        self.process.asterisk.responses["GET channels"] = json.dumps([channel]).encode()
        self.assertEqual(self.end(OrphanedChannels(frozenset({"local;2"}))), ["DELETE channels/local;2"])
        self.assertEqual(self.process.calls, [])

    def test_caller_that_waits_is_accepted(self) -> None:
        channel = {"id": "1700.5", "state": "Ring", "name": "PJSIP/trunk-5", "dialplan": {"exten": "100"}}
        self.process.asterisk.responses["GET channels"] = json.dumps([channel]).encode()
        self.end(OrphanedChannels(frozenset({"1700.5"})))
        self.assertEqual([call.status for call in self.process.calls], ["placing"])

    def test_caller_that_waits_has_the_arguments_of_the_dialplan(self) -> None:
        """Its StasisStart went to a process that is gone; without them its number counts as withheld."""
        for variable, number, headers in (
            ("codecs=%28g722%29,presentation=allowed_not_screened,Diversion=%3Csip:1@a%3E", "+4930111", "<sip:1@a>"),
            ("codecs=%28g722%29,presentation=prohib_not_screened,Diversion=", "", None),
            ("", "", None),
        ):
            self.process = self.make_process()
            asterisk = self.process.asterisk
            channel = {
                "id": "1700.5",
                "state": "Ring",
                "name": "PJSIP/trunk-5",
                "dialplan": {"exten": "100"},
                "caller": {"name": "Alice", "number": "+4930111"},
            }
            asterisk.responses["GET channels"] = json.dumps([channel]).encode()
            asterisk.responses["GET channels/1700.5/variable"] = json.dumps({"value": variable}).encode()
            self.end(OrphanedChannels(frozenset({"1700.5"})))
            self.assertEqual(asterisk.queries["GET channels/1700.5/variable"], {"variable": "VOXREC_ARGS"})
            (call,) = self.process.calls
            self.assertEqual((call.inbound.number, call.inbound.name), (number, "Alice" if number else ""))
            self.assertEqual((call.inbound.wideband, call.inbound.headers.get("Diversion")), (bool(variable), headers))


class TakeoverTests(ReconciliationTestCase):
    """A process that is started while a call of another process is being transferred."""

    def setUp(self) -> None:
        super().setUp()
        self.former = self.talk()
        assert self.former.recording is not None
        self.known[self.former.recording_id] = self.former.recording
        self.leg = self.former.leg
        self.name = self.former.leg_channel_name

    def take_over(self, channels: Mapping[str, str], *, bridged: Collection[str] = ()) -> LiveCall:
        """Start another process, and let it reconcile."""
        created: Any = self.process.asterisk.bodies["POST channels/create"]
        state = created["variables"][CALL_VARIABLE]
        self.process = self.make_process()
        self.process.files.create(self.former)
        for channel in channels:
            variable = json.dumps({"value": state}).encode()
            self.process.asterisk.responses[f"GET channels/{channel}/variable"] = variable
        self.process.asterisk.responses["GET channels/1700.1/variable"] = b'{"value": ""}'
        self.process.asterisk.variables[MONITOR_VARIABLE] = MONITOR
        bridges = {f"voxrec-{self.former.id}-bridge": ["1700.1", *bridged]}
        self.orphaned = self.reconcile(
            {"1700.1": "Up", **channels}, channel_names={self.leg: self.name}, bridges=bridges
        )
        (call,) = self.process.calls
        return call

    def transfer(self) -> str:
        """Let the far end transfer the call, and return the id of the new leg."""
        self.former.transferred(TransferRequest("sip:third@192.0.2.9", "local;2"))
        return self.former.leg

    def requests(self, call: LiveCall) -> list[str]:
        return [
            request.replace(str(call.id), "CALL")
            for request in self.process.asterisk.take_requests()
            if not request.startswith(("GET", "MixMonitorMute"))
        ]

    def finish_transfer(self, call: LiveCall, leg: str) -> None:
        self.process.router.handle(events.ChannelStateChange(events.Channel(id=leg, state="Up")))
        self.process.clock.advance(60)
        self.assertEqual((call.status, call.placeholders), ("talking", ["local;2"]))
        recording = call.recording
        assert recording is not None
        self.assertEqual(recording.started_at, self.known[call.recording_id].started_at)

    def test_while_the_new_leg_is_being_created(self) -> None:
        leg = self.transfer()
        call = self.take_over({leg: "Down", "local;2": "Up"})
        # in this fake, every channel in the list has entered the application
        self.assertEqual(
            self.requests(call), ["POST bridges/voxrec-CALL-bridge/addChannel", "POST channels/voxrec-CALL-leg2/dial"]
        )
        self.finish_transfer(call, leg)

    def test_while_the_target_rings(self) -> None:
        leg = self.transfer()
        call = self.take_over({leg: "Ringing", "local;2": "Up"}, bridged=[leg])
        self.assertEqual(self.requests(call), [])
        self.finish_transfer(call, leg)

    def test_target_that_does_not_answer(self) -> None:
        leg = self.transfer()
        call = self.take_over({leg: "Ringing", "local;2": "Up"}, bridged=[leg])
        self.process.clock.advance(25)
        self.assertEqual(call.status, "clearing")
        self.assertEqual(
            self.requests(call),
            ["DELETE channels/1700.1", "DELETE channels/voxrec-CALL-leg2", "DELETE channels/local;2"],
        )

    def test_replaced_leg_that_still_exists_is_ended_with_the_call(self) -> None:
        leg = self.transfer()
        call = self.take_over({leg: "Up", self.leg: "Up", "local;2": "Up"}, bridged=[leg])
        call.inputs.release(16)
        self.assertIn("DELETE channels/voxrec-CALL-leg", self.requests(call))

    def take_over_during_a_transfer(self, *, leg_hangs_up: bool) -> LiveCall:
        """Take over the call, and let the far end transfer it while the Recordings are looked up."""

        def transfer() -> None:
            (call,) = self.process.calls
            args = ("transferred", "sip%3Athird%40192.0.2.9", self.name.replace("/", "%2F"))
            self.process.router.handle(events.StasisStart(events.Channel(id="local;2"), args))
            self.assertEqual(call.status, "new")
            if leg_hangs_up:
                self.process.router.handle(events.ChannelDestroyed(events.Channel(id=self.leg), 16))

        self.during_lookup = transfer
        return self.take_over({self.leg: "Up"}, bridged=[self.leg])

    def test_transfer_that_is_requested_during_the_takeover(self) -> None:
        call = self.take_over_during_a_transfer(leg_hangs_up=False)
        self.assertEqual(self.requests(call), ["POST channels/create"])
        self.assertEqual((call.leg, call.status), (f"voxrec-{call.id}-leg2", "talking"))

    def test_transferring_leg_that_hangs_up_during_the_takeover(self) -> None:
        call = self.take_over_during_a_transfer(leg_hangs_up=True)
        self.assertEqual((call.leg, call.status, call.former_legs), (f"voxrec-{call.id}-leg2", "talking", []))

    def test_takeover_that_fails_is_repeated(self) -> None:
        created: Any = self.process.asterisk.bodies["POST channels/create"]
        state = created["variables"][CALL_VARIABLE]
        self.process = self.make_process()
        asterisk = self.process.asterisk
        asterisk.responses[f"GET channels/{self.leg}/variable"] = json.dumps({"value": state}).encode()
        self.set_state({"1700.1": "Up", self.leg: "Up"}, bridges={f"voxrec-{self.former.id}-bridge": [self.leg]})
        asterisk.errors["1700.1/variable"] = 500
        reconciled = Deferred.fromCoroutine(self.process.reconciler.reconcile())
        self.failureResultOf(reconciled, AriResponseError)
        self.assertEqual((self.process.calls, self.process.clock.getDelayedCalls()), ([], []))
        asterisk.errors.pop("1700.1/variable")
        asterisk.variables[MONITOR_VARIABLE] = MONITOR
        self.successResultOf(Deferred.fromCoroutine(self.process.reconciler.reconcile()))
        self.assertEqual([call.status for call in self.process.calls], ["talking"])

    def test_leg_whose_caller_has_hung_up_is_ended_at_once(self) -> None:
        """Not only as an orphan after a second look, nor after the wait for PostgreSQL for the sake of other calls."""
        looked_up: list[None] = []
        self.during_lookup = lambda: looked_up.append(None)
        self.leave(callers=())
        self.reconcile({self.leg: "Up"})
        self.assertEqual(self.deleted(), [f"channels/{self.leg}"])
        self.assertEqual((self.process.calls, looked_up), ([], []))

    def test_legs_of_a_transfer_whose_caller_has_hung_up_are_ended_at_once(self) -> None:
        target = self.transfer()
        self.leave(callers=(), legs=(self.leg, target))
        self.reconcile({self.leg: "Up", target: "Ringing"})
        self.assertCountEqual(self.deleted(), [f"channels/{self.leg}", f"channels/{target}"])

    def test_leg_whose_caller_has_left_the_application_is_not_ended_at_once(self) -> None:
        """Whoever took the caller out of the application may put it back."""
        self.leave(callers=("1700.1",))
        self.set_state({"1700.1": "Up", self.leg: "Up"})
        applications = json.dumps({"channel_ids": [self.leg]}).encode()
        self.process.asterisk.responses["GET applications/voxrec"] = applications
        orphaned = self.successResultOf(Deferred.fromCoroutine(self.process.reconciler.reconcile()))
        self.assertEqual(self.deleted(), [])
        self.assertEqual(orphaned, OrphanedChannels(frozenset({self.leg})))

    def test_caller_that_hangs_up_while_recordings_are_looked_up(self) -> None:
        deleted: list[str] = []

        def hang_up() -> None:
            self.process.asterisk.take_requests()
            self.process.router.handle(events.ChannelDestroyed(events.Channel(id="1700.1"), 16))
            deleted.extend(self.deleted())

        self.during_lookup = hang_up
        call = self.take_over({self.leg: "Up"}, bridged=[self.leg])
        self.assertEqual(deleted, [f"channels/{self.leg}"])
        self.process.router.handle(events.ChannelDestroyed(events.Channel(id=self.leg), 16))
        self.process.files.close(call)
        self.assertEqual((self.process.calls, call.data.hangup_by), ([], "caller"))

    def leave(self, *, callers: Collection[str], legs: Collection[str] = ()) -> None:
        """Start another process, for which ``callers`` and the legs of the call are left in Asterisk."""
        created: Any = self.process.asterisk.bodies["POST channels/create"]
        state = json.dumps({"value": created["variables"][CALL_VARIABLE]}).encode()
        self.process = self.make_process()
        for leg in legs or (self.leg,):
            self.process.asterisk.responses[f"GET channels/{leg}/variable"] = state
        for caller in callers:
            self.process.asterisk.responses[f"GET channels/{caller}/variable"] = b'{"value": ""}'

    def deleted(self) -> list[str]:
        requests = self.process.asterisk.take_requests()
        return [request.removeprefix("DELETE ") for request in requests if request.startswith("DELETE ")]
