"""Tests of voxrec.calls.stasis.router: which call an event concerns."""

from typing import Any
from urllib.parse import quote

from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from tests.calls.fake_asterisk import ProcessFixture, ProfileDirectory, make_profile
from tests.calls.test_admission import make_caller
from voxrec.ari import events
from voxrec.calls.live_call import LiveCall
from voxrec.model import Attempt, Profile, RecordingState, RtpCounters, RtpStatistics

CALLER = make_caller()


class RouterTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.process = ProcessFixture(ProfileDirectory(make_profile()))
        self.router = self.process.router
        self.asterisk = self.process.asterisk

    def talk(self) -> LiveCall:
        """Make a call in which both parties talk and are recorded."""
        self.process.inbound_call(CALLER)
        (call,) = self.process.calls
        self.process.answer(call)
        self.assertEqual(call.status, "talking")
        self.asterisk.take_requests()
        return call


class EventTests(RouterTestCase):
    def test_event_reaches_only_its_call(self) -> None:
        first = self.talk()
        self.process.inbound_call(make_caller("1700.2"))
        _, second = self.process.calls
        self.router.handle(events.ChannelDestroyed(events.Channel(id=first.leg), 16))
        self.assertEqual((first.status, second.status), ("clearing", "placing"))

    def test_event_that_concerns_no_call_is_ignored(self) -> None:
        channel = events.Channel(id="unknown", state="Up")
        for event in (
            events.StasisEnd(channel),
            events.ChannelDestroyed(channel, 16),
            events.ChannelStateChange(channel),
            events.PlaybackFinished(events.Playback("beep")),
            events.ChannelHold(channel),
        ):
            self.router.handle(event)
        self.assertEqual(self.asterisk.take_requests(), [])

    def test_packets_of_all_channels_of_a_party_are_counted(self) -> None:
        """Asterisk reports nothing about a channel that was replaced, also by the placeholder of a transfer."""
        call = self.talk()
        report = events.UserEvent(received="100", lost="1", jitter="0.005")
        for channel, name in ((CALLER.id, "PJSIP/trunk-9"), (call.leg, "Local/third@voxrec-transfer-00000001;1")):
            self.asterisk.responses[f"GET channels/{channel}/rtp_statistics"] = (
                b'{"rxcount": 200, "rxploss": 3, "local_maxjitter": 0.02}'
            )
            taker = events.Channel(id=f"{channel}-taker", name=name, state="Up")
            self.router.handle(events.StasisStart(taker, (), events.Channel(id=channel)))
        for channel in (call.inbound.channel, call.leg):
            self.router.handle(events.ChannelUserevent(events.RTP_EVENT, report, events.Channel(id=channel)))
        leg = RtpCounters(packets_received=100, packets_lost=1, max_jitter_ms=5.0)
        caller = RtpCounters(packets_received=300, packets_lost=4, max_jitter_ms=20.0)
        recording = call.recording
        assert recording is not None
        # the leg stays the current one until the target is known; its own report replaces what was asked
        self.assertEqual(recording.rtp_statistics, RtpStatistics(caller=caller, callee=leg))

    def test_channel_that_belongs_to_no_call_is_ended(self) -> None:
        leg = "voxrec-10000000-0000-4000-8000-000000000009-leg"
        for channel in (leg, "unknown", "voxrec-nonsense-leg"):
            self.router.handle(events.StasisStart(events.Channel(id=channel), ("leg",)))
            self.assertEqual(self.asterisk.take_requests(), [f"DELETE channels/{channel}"])

    def test_call_is_over_when_its_last_file_is_closed(self) -> None:
        call = self.talk()
        empty = self.process.live_calls.when_empty()
        self.router.handle(events.StasisEnd(CALLER))
        self.router.handle(events.ChannelDestroyed(events.Channel(id=call.leg), 16))
        self.assertNoResult(empty)
        self.process.files.close(call)
        self.successResultOf(empty)
        self.assertEqual(self.process.calls, [])
        self.assertEqual(self.process.sink.recordings[-1].state, RecordingState.PROCESSING)

    def test_release_all(self) -> None:
        call = self.talk()
        self.process.live_calls.release_all()
        self.assertEqual(self.asterisk.take_requests(), ["DELETE channels/1700.1", f"DELETE channels/{call.leg}"])


class LogTests(RouterTestCase):
    """Lines of the log outlive the Recordings, so they contain no numbers, names and SIP users."""

    PERSONAL = ("4930111", "Alice", "desk", "third", "1001")

    def messages(self, *, log_numbers: bool) -> str:
        self.process = ProcessFixture(ProfileDirectory(make_profile()), log_numbers=log_numbers)
        self.router, self.asterisk = self.process.router, self.process.asterisk
        with capturedLogs() as logs:
            call = self.talk()
            self.process.inbound_call(make_caller("1700.2", dialled="1001"))
            for leg_name in (call.leg_channel_name, call.leg_channel_name, "PJSIP/unknown-1"):
                args = ("transferred", quote("<sip:third@192.0.2.9>"), quote(leg_name), "")
                self.router.handle(events.StasisStart(events.Channel(id="local;2", name="Local/third@x"), args))
            self.router.handle(events.StasisStart(events.Channel(id="local;1", name="Local/third@x"), ()))
            self.process.live_calls.release_all()
        return "\n".join(formatEvent(event) for event in logs).replace(str(call.id), "")

    def test_numbers_are_not_logged(self) -> None:
        messages = self.messages(log_numbers=False)
        self.assertIn("to Profile 10000000-0000-4000-8000-000000000001", messages)
        self.assertIn("refused a call: no Profile has this id or number", messages)
        self.assertIn("transferred to 192.0.2.9", messages)
        self.assertIn("refused the transfer of 'PJSIP/unknown-1' to 192.0.2.9", messages)
        for personal in self.PERSONAL:
            self.assertNotIn(
                personal, messages.replace("10000000-0000-4000-8000-000000000001", "").replace("1700.", "")
            )

    def test_numbers_are_logged_on_demand(self) -> None:
        messages = self.messages(log_numbers=True)
        self.assertIn("from '+4930111' to '100'", messages)
        self.assertIn("refused a call from '+4930111' to '1001'", messages)


class TransferTests(RouterTestCase):
    PLACEHOLDER = events.Channel(id="local;2", name="Local/x@voxrec-transfer-1;2", state="Ring")

    def transfer(self, leg_channel_name: str, refer_to: str = "<sip:third@192.0.2.9>", replaces: str = "") -> None:
        args = ("transferred", *(quote(value, safe="") for value in (refer_to, leg_channel_name, replaces)))
        self.router.handle(events.StasisStart(self.PLACEHOLDER, args))

    def created_legs(self) -> list[Any]:
        return [request for request in self.asterisk.take_requests() if request == "POST channels/create"]

    def test_transfer_of_the_current_leg(self) -> None:
        call = self.talk()
        replaces = "a1@192.0.2.9;to-tag=b;from-tag=c"
        self.transfer(call.leg_channel_name, replaces=replaces)
        created: Any = self.asterisk.bodies["POST channels/create"]
        self.assertEqual(created["variables"]["SIPREPLACESHDR"], replaces)
        self.assertEqual(call.leg, f"voxrec-{call.id}-leg2")

    def test_half_of_the_placeholder_in_the_bridge_is_left_alone(self) -> None:
        call = self.talk()
        replaced = events.Channel(id=call.leg)
        half = events.Channel(id="local;1", name="Local/x@voxrec-transfer-00000001;1")
        self.router.handle(events.StasisStart(half, (), replaced))
        self.assertEqual(self.asterisk.take_requests(), [f"GET channels/{call.leg}/rtp_statistics"])

    def test_transfer_of_an_unknown_leg_removes_the_placeholder(self) -> None:
        for name in ("PJSIP/unknown-1", ""):
            self.transfer(name)
            self.assertEqual(self.asterisk.take_requests(), ["DELETE channels/local;2"])

    def test_transfer_to_a_target_that_is_not_allowed_ends_the_call(self) -> None:
        self.process = ProcessFixture(ProfileDirectory(make_profile()), allowed_hosts=("192.0.2.7",))
        self.router, self.asterisk = self.process.router, self.process.asterisk
        call = self.talk()
        self.transfer(call.leg_channel_name)
        self.assertEqual(
            self.asterisk.take_requests(),
            ["DELETE channels/local;2", "DELETE channels/1700.1", f"DELETE channels/{call.leg}"],
        )
        assert call.recording is not None
        self.assertEqual(
            [(entry.event, entry.by) for entry in call.recording.timeline[-2:]],
            [("transfer.refused", "callee"), ("hangup", "callee")],
        )

    def test_transfer_that_asterisk_refuses_is_in_the_timeline(self) -> None:
        call = self.talk()
        caller, leg = events.Channel(id=CALLER.id), events.Channel(id=call.leg)
        self.router.handle(events.BridgeBlindTransfer(leg, "Success"))
        self.router.handle(events.BridgeBlindTransfer(leg, "Fail"))
        self.router.handle(events.BridgeAttendedTransfer(caller, "Not Permitted"))
        self.router.handle(events.BridgeBlindTransfer(events.Channel(id="unknown"), "Invalid"))
        assert call.recording is not None
        self.assertEqual(
            [(e.by, e.detail) for e in call.recording.timeline if e.event == "transfer.refused"],
            [("callee", "Asterisk reports Fail"), ("caller", "Asterisk reports Not Permitted")],
        )
        self.assertEqual((call.status, self.asterisk.take_requests()), ("talking", []))

    def test_transfer_before_the_parties_are_connected(self) -> None:
        self.process.inbound_call(CALLER)
        (call,) = self.process.calls
        self.router.handle(events.BridgeBlindTransfer(events.Channel(id=call.leg), "Invalid"))  # it rings
        self.asterisk.delayed.add("answer")
        self.process.answer(call)
        self.router.handle(events.BridgeBlindTransfer(events.Channel(id=call.leg), "Invalid"))
        assert call.recording is not None
        details = [e.detail for e in call.recording.timeline if e.event == "transfer.refused"]
        self.assertEqual(details, ["the parties were not connected yet"] * 2)

    def test_a_far_end_that_sends_refer_without_end_before_the_recording(self) -> None:
        self.process.inbound_call(CALLER)
        (call,) = self.process.calls
        for _ in range(1000):
            self.router.handle(events.BridgeBlindTransfer(events.Channel(id=call.leg), "Invalid"))
        self.process.answer(call)
        assert call.recording is not None
        self.assertEqual([e.event for e in call.recording.timeline].count("transfer.refused"), 20)

    def test_transfer_of_a_call_that_is_over_removes_the_placeholder(self) -> None:
        call = self.talk()
        name = call.leg_channel_name
        self.router.handle(events.ChannelDestroyed(events.Channel(id=call.leg), 16))
        self.router.handle(events.ChannelDestroyed(CALLER, 16))
        self.process.files.close(call)
        self.assertEqual(self.process.calls, [])
        self.asterisk.take_requests()
        self.transfer(name)
        self.assertEqual(self.asterisk.take_requests(), ["DELETE channels/local;2"])

    def test_events_of_a_replaced_leg_do_not_end_the_call(self) -> None:
        call = self.talk()
        former = call.leg
        self.transfer(call.leg_channel_name)
        self.router.handle(events.ChannelDestroyed(events.Channel(id=former), 16))
        self.assertEqual((call.status, call.former_legs), ("talking", []))

    def test_leg_that_is_not_in_use_is_ended(self) -> None:
        """Another process created it for a transfer when this process had taken over the call."""
        call = self.talk()
        leg = f"voxrec-{call.id}-leg2"
        self.router.handle(events.StasisStart(events.Channel(id=leg), ("leg",)))
        self.assertEqual(self.asterisk.take_requests(), [f"DELETE channels/{leg}"])


class LookupTests(SynchronousTestCase):
    """A Profile that is not in the directory is looked up, for example because it was created a moment ago."""

    def setUp(self) -> None:
        self.directory = ProfileDirectory(None)
        self.process = ProcessFixture(self.directory, look_up=self.look_up)
        self.lookups: list[tuple[str, Deferred[None]]] = []

    async def look_up(self, dialled: str) -> None:
        waiting: Deferred[None] = Deferred()
        self.lookups.append((dialled, waiting))
        await waiting

    def requests(self) -> list[str]:
        return self.process.asterisk.take_requests()

    def test_call_of_a_new_profile(self) -> None:
        self.process.inbound_call(CALLER)
        self.process.inbound_call(CALLER)  # reconciliation finds the channel too
        self.assertEqual((self.requests(), self.process.calls, len(self.lookups)), ([], [], 1))
        self.directory.found = make_profile()
        self.lookups[0][1].callback(None)
        self.assertIsNotNone(self.process.live_calls.of_caller(CALLER.id))

    def test_call_of_an_unknown_number(self) -> None:
        self.process.inbound_call(CALLER)
        self.assertEqual(self.lookups[0][0], "100")
        self.lookups[0][1].callback(None)
        self.assertEqual(self.requests(), [f"DELETE channels/{CALLER.id}"])
        self.assertEqual(self.process.asterisk.queries[f"DELETE channels/{CALLER.id}"], {"reason": "unallocated"})

    def test_caller_who_hangs_up_meanwhile(self) -> None:
        for event in (events.StasisEnd(CALLER), events.ChannelDestroyed(CALLER, 16)):
            self.process.inbound_call(CALLER)
            self.process.router.handle(event)
            self.directory.found = make_profile()
            self.lookups.pop()[1].callback(None)
            self.assertEqual((self.requests(), self.process.calls), ([], []))
            self.directory.found = None

    def test_failed_lookup(self) -> None:
        self.process.inbound_call(CALLER)
        self.lookups[0][1].errback(ValueError("a defect"))
        self.assertEqual(self.requests(), [f"DELETE channels/{CALLER.id}"])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_process_that_left_its_calls_decides_nothing(self) -> None:
        self.process.inbound_call(CALLER)
        self.process.live_calls.detach_all()
        self.lookups[0][1].callback(None)
        self.assertEqual(self.requests(), [])

    def test_known_profile_is_not_looked_up(self) -> None:
        self.directory.found = make_profile(remote_sip_uri=None)
        self.process.inbound_call(CALLER)
        self.directory.confirmed, self.directory.found = False, None
        self.process.inbound_call(make_caller("1700.2"))
        self.assertEqual(self.lookups, [])


class AttemptTests(RouterTestCase):
    """Calls that a SIP proxy has passed to a node, and may have passed to another one since."""

    def setUp(self) -> None:
        super().setUp()
        self.asked: list[tuple[Attempt, Deferred[bool]]] = []
        self.router.is_superseded = self.is_superseded

    async def is_superseded(self, attempt: Attempt) -> bool:
        self.asked.append((attempt, Deferred()))
        return await self.asked[-1][1]

    def enter(self, attempt: str = "a/0", caller: events.Channel = CALLER) -> None:
        self.router.handle(events.StasisStart(caller, ("incoming", f"attempt={quote(attempt, safe='')}")))

    def test_a_current_attempt_is_placed_after_the_look_up(self) -> None:
        self.enter("a/1")
        self.assertEqual((self.asterisk.take_requests(), self.process.calls), ([], []))
        ((attempt, answer),) = self.asked
        self.assertEqual(attempt, Attempt("a", 1))
        answer.callback(False)
        (call,) = self.process.calls
        self.assertEqual((call.status, call.inbound.attempt), ("placing", attempt))

    def test_a_superseded_attempt_is_not_placed(self) -> None:
        self.enter()
        self.asked[0][1].callback(True)
        self.assertEqual(self.process.calls, [])
        self.assertEqual(self.asterisk.take_requests(), ["POST channels/1700.1/continue"])
        self.assertEqual(self.asterisk.queries["POST channels/1700.1/continue"]["extension"], "482*25")

    def test_no_call_is_reserved_for_a_superseded_attempt(self) -> None:
        self.process = ProcessFixture(ProfileDirectory(make_profile(max_calls=1)))
        self.router, self.asterisk = self.process.router, self.process.asterisk
        self.router.is_superseded = self.is_superseded
        reserved: list[Profile] = []

        async def reserve(profile: Profile) -> bool:
            reserved.append(profile)
            return True

        self.router.reserve = reserve
        self.enter()
        self.asked[0][1].callback(True)
        self.enter(caller=make_caller("1700.2"))
        self.asked[1][1].callback(False)
        self.assertEqual((len(reserved), len(self.process.calls)), (1, 1))

    def test_a_caller_without_a_proxy_is_never_late(self) -> None:
        self.router.was_interrupted = lambda: True
        self.process.inbound_call(CALLER)
        self.assertEqual((len(self.process.calls), self.asked), (1, []))

    def test_after_an_interruption_the_proxy_passes_calls_to_another_node(self) -> None:
        self.router.was_interrupted = lambda: True
        self.enter()
        self.assertEqual((self.process.calls, self.asked), ([], []))
        self.assertEqual(self.asterisk.take_requests(), ["DELETE channels/1700.1"])
        self.assertEqual(self.asterisk.queries["DELETE channels/1700.1"], {"reason": "congestion"})

    def test_the_caller_hangs_up_during_the_look_up(self) -> None:
        self.enter()
        self.router.handle(events.ChannelDestroyed(CALLER, 16))
        self.asked[0][1].callback(False)
        self.assertEqual((self.asterisk.take_requests(), self.process.calls), ([], []))

    def test_a_call_is_given_up_while_its_far_end_is_called(self) -> None:
        self.enter()
        self.asked[0][1].callback(False)
        (call,) = self.process.calls
        self.router.handle(events.StasisStart(events.Channel(id=call.leg, name="PJSIP/trunk-2"), ("leg",)))
        self.assertEqual(self.process.live_calls.attempts, [Attempt("a", 0)])
        self.asterisk.take_requests()
        for other in (Attempt("a", 0), Attempt("b", 1)):
            self.process.live_calls.give_up(other)
            self.assertEqual(self.asterisk.take_requests(), [])
        self.process.live_calls.give_up(Attempt("a", 1))
        self.assertCountEqual(
            self.asterisk.take_requests(), [f"DELETE channels/{call.leg}", "POST channels/1700.1/continue"]
        )
        self.assertEqual((call.status, call.data.sip_status), ("clearing", 482))
        self.assertEqual(self.process.live_calls.attempts, [])

    def test_a_call_that_was_answered_is_not_given_up(self) -> None:
        self.enter()
        self.asked[0][1].callback(False)
        (call,) = self.process.calls
        self.process.answer(call)
        self.asterisk.take_requests()
        self.process.live_calls.give_up(Attempt("a", 1))
        self.assertEqual((call.status, self.asterisk.take_requests()), ("talking", []))
        assert call.recording is not None
        self.assertEqual(call.recording.timeline[-1].event, "superseded")
        self.assertEqual(self.process.live_calls.attempts, [])


class MergedInviteTests(RouterTestCase):
    """An INVITE that a trunk sends by two ways, with one Call-ID and one tag."""

    def enter(self, channel: str, dialog: str = "a1@trunk;tag", *, attempt: str = "") -> None:
        args = ("incoming", f"dialog={quote(dialog, safe='')}", f"attempt={quote(attempt, safe='')}")
        self.router.handle(events.StasisStart(make_caller(channel), args))

    def assert_refused(self, channel: str) -> None:
        path = f"POST channels/{channel}/continue"
        self.assertEqual(self.asterisk.take_requests(), [path])
        self.assertEqual(self.asterisk.queries[path]["extension"], "482*25")

    def test_the_second_one_is_refused(self) -> None:
        self.enter("1700.1")
        self.asterisk.take_requests()
        self.enter("1700.2")
        self.assert_refused("1700.2")
        (call,) = self.process.calls
        self.process.answer(call)
        self.asterisk.take_requests()
        self.enter("1700.3")
        self.assert_refused("1700.3")
        self.assertEqual((self.process.calls, call.status), ([call], "talking"))

    def test_while_the_first_one_is_looked_up(self) -> None:
        looked_up: Deferred[None] = Deferred()

        async def look_up(_dialled: str) -> None:
            await looked_up

        directory = ProfileDirectory(None)
        self.process = ProcessFixture(directory, look_up=look_up)
        self.router, self.asterisk = self.process.router, self.process.asterisk
        self.enter("1700.1")
        self.enter("1700.2")
        self.assert_refused("1700.2")
        directory.found = make_profile()
        looked_up.callback(None)
        self.assertEqual([call.inbound.channel for call in self.process.calls], ["1700.1"])

    def test_a_trunk_that_tries_again_after_a_refusal(self) -> None:
        self.enter("1700.1")
        (refused,) = self.process.calls
        refused.inputs.leg_hung_up(17)
        self.enter("1700.2")
        _, again = self.process.calls
        self.assertEqual((refused.status, again.status), ("clearing", "placing"))
        refused.inputs.caller_hung_up(17)
        self.assertEqual(self.process.calls, [again])
        self.asterisk.take_requests()
        self.enter("1700.3")
        self.assert_refused("1700.3")

    def test_several_numbers_that_ring_at_the_same_time(self) -> None:
        self.process = ProcessFixture(ProfileDirectory(make_profile(), dialled=None))
        self.router, self.asterisk = self.process.router, self.process.asterisk
        for channel, dialled in (("1700.1", "100"), ("1700.2", "101")):
            caller = make_caller(channel, dialled=dialled)
            self.router.handle(events.StasisStart(caller, ("incoming", f"dialog={quote('a1@trunk;tag')}")))
        self.assertEqual([call.inbound.dialled for call in self.process.calls], ["100", "101"])

    def test_other_dialogs_and_callers_of_whom_none_is_known(self) -> None:
        for number, dialog in enumerate(("a1@trunk;tag", "a1@trunk;other", "a2@trunk;tag", "", "")):
            self.enter(f"1700.{number}", dialog)
        self.assertEqual([call.status for call in self.process.calls], 5 * ["placing"])

    def test_a_proxy_may_come_back_to_a_node(self) -> None:
        self.enter("1700.1", attempt="a/0")
        self.enter("1700.2", attempt="a/1")
        self.assertEqual([call.status for call in self.process.calls], 2 * ["placing"])
