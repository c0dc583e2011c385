"""Tests of voxrec.calls.transfers.replacements: channels that Asterisk has put in the place of others."""

from twisted.trial.unittest import SynchronousTestCase

from tests.calls.fake_asterisk import CallFixture, ProcessFixture, ProfileDirectory, make_profile
from tests.calls.test_admission import make_caller
from tests.calls.test_call_machine import answered, placed, ringing, talking
from tests.calls.transfers.test_transfer_machine import announcing, ending, requested, target_ringing
from voxrec.ari import events
from voxrec.calls.channels.takeover_state import CALL_VARIABLE, PAUSE_VARIABLE, decode_takeover_state
from voxrec.calls.live_call import LiveCall
from voxrec.calls.signalling.causes import Cause
from voxrec.calls.transfers.replacements import ReplacingChannel
from voxrec.calls.transfers.transfer_core import TransferRequest, is_placeholder
from voxrec.model import Side

TAKER = ReplacingChannel("1700.9", "PJSIP/trunk-9", answered=True)
LINK = ReplacingChannel("1700.8", "Local/_attended@transfer-00000001;1", answered=True)
BRIDGE = "GET bridges/voxrec-CALL-bridge"
ADD = "POST bridges/voxrec-CALL-bridge/addChannel"


def recorded_over(fixture: CallFixture) -> None:
    fixture.files.close(fixture.call)


class ReplacementTestCase(SynchronousTestCase):
    def bridged(self, fixture: CallFixture, *channels: str) -> None:
        """Let Asterisk report these channels in the bridge."""
        content = ",".join(f'"{channel}"' for channel in channels)
        request = f"GET bridges/voxrec-{fixture.call.id}-bridge"
        fixture.asterisk.responses[request] = f'{{"id": "b", "channels": [{content}]}}'.encode()

    def settle(self, fixture: CallFixture) -> list[str]:
        """Return the requests after the time that Asterisk may take to exchange the channels."""
        fixture.take_requests()
        fixture.clock.advance(0.5)
        return [request for request in fixture.take_requests() if "/play/" not in request and "Monitor" not in request]


class LegTests(ReplacementTestCase):
    def test_the_new_channel_is_the_current_leg_and_the_old_one_is_ended(self) -> None:
        for make in (answered, announcing, talking):
            fixture = make()
            former = fixture.call.leg
            self.bridged(fixture, TAKER.id)
            status = fixture.call.status
            fixture.call.replaced(Side.CALLEE, TAKER)
            self.assertEqual((fixture.call.leg, fixture.call.leg_channel_name), (TAKER.id, TAKER.name))
            self.assertEqual(self.settle(fixture), [BRIDGE, "DELETE channels/voxrec-CALL-leg"])
            fixture.call.leg_left(former)
            self.assertEqual(fixture.call.status, status)
            self.assertIn(("transferred", "callee"), [(entry.event, entry.by) for entry in fixture.recording.timeline])

    def test_the_call_ends_with_the_new_channel(self) -> None:
        fixture = talking()
        fixture.call.replaced(Side.CALLEE, TAKER)
        fixture.call.leg_left(f"voxrec-{fixture.call.id}-leg")
        fixture.call.leg_destroyed(TAKER.id, Cause.NORMAL)
        self.assertEqual(fixture.call.data.hangup_by, Side.CALLEE)
        fixture.call.inputs.caller_hung_up(Cause.NORMAL)
        recorded_over(fixture)
        self.assertEqual((fixture.over, fixture.clock.getDelayedCalls()), ([fixture.call], []))

    def test_the_call_that_ends_ends_both_channels(self) -> None:
        fixture = talking()
        fixture.call.replaced(Side.CALLEE, TAKER)
        fixture.take_requests()
        fixture.call.inputs.release(Cause.NORMAL)
        expected = ["DELETE channels/CALLER", "DELETE channels/voxrec-CALL-leg", f"DELETE channels/{TAKER.id}"]
        self.assertEqual(fixture.take_requests()[:3], expected)
        fixture.clock.advance(0.5)
        self.assertEqual(fixture.take_requests(), [])

    def test_a_channel_that_asterisk_did_not_put_into_the_bridge_is_added(self) -> None:
        fixture = talking()
        self.bridged(fixture, "1700.1")
        fixture.call.replaced(Side.CALLEE, TAKER)
        self.assertEqual(self.settle(fixture), [BRIDGE, ADD, "DELETE channels/voxrec-CALL-leg"])

    def test_a_channel_that_cannot_be_added_ends_the_call(self) -> None:
        fixture = talking()
        fixture.asterisk.errors = {"addChannel": 500}
        fixture.call.replaced(Side.CALLEE, TAKER)
        fixture.clock.advance(0.5)
        self.assertEqual(fixture.call.status, "clearing")
        self.flushLoggedErrors()

    def test_a_party_that_picks_up_a_ringing_call_answers_it(self) -> None:
        fixture = ringing()
        fixture.call.replaced(Side.CALLEE, TAKER)
        self.assertEqual(fixture.call.status, "connecting")
        self.assertIn("POST channels/CALLER/answer", fixture.take_requests())

    def test_a_party_that_picks_up_the_target_of_a_transfer_completes_it(self) -> None:
        for make in (requested, target_ringing):
            fixture = make()
            self.bridged(fixture, TAKER.id)
            fixture.call.replaced(Side.CALLEE, TAKER)
            fixture.clock.advance(200)  # neither limit of the transfer applies any more
            self.assertEqual(fixture.call.status, "talking")

    def test_it_is_refused_before_the_leg_was_dialled_and_when_the_call_ends(self) -> None:
        for make in (placed, ending):
            fixture = make()
            fixture.take_requests()
            fixture.call.replaced(Side.CALLEE, TAKER)
            self.assertEqual(fixture.take_requests(), [f"DELETE channels/{TAKER.id}"])

    def test_the_next_transfer_has_another_leg(self) -> None:
        fixture = talking()
        fixture.call.replaced(Side.CALLEE, TAKER)
        fixture.call.transferred(TransferRequest("sip:third@192.0.2.9", "local;2"))
        self.assertEqual(fixture.call.leg, f"voxrec-{fixture.call.id}-leg3")


class CallerTests(ReplacementTestCase):
    def test_the_new_channel_is_the_callers_and_the_old_one_is_ended(self) -> None:
        for make in (placed, ringing, answered, announcing, talking):
            fixture = make()
            self.bridged(fixture, TAKER.id)
            status = fixture.call.status
            fixture.call.replaced(Side.CALLER, TAKER)
            self.assertEqual(fixture.call.inbound.channel, TAKER.id)
            requests = self.settle(fixture)
            self.assertEqual(requests, [*([] if make in (placed, ringing) else [BRIDGE]), "DELETE channels/CALLER"])
            fixture.call.leg_left("1700.1")
            self.assertEqual(fixture.call.status, status)

    def test_the_far_end_answers_the_new_channel(self) -> None:
        fixture = ringing()
        fixture.call.replaced(Side.CALLER, LINK)
        fixture.take_requests()
        fixture.call.inputs.leg_answered()
        self.assertEqual(fixture.take_requests()[0], f"POST channels/{LINK.id}/answer")

    def test_the_call_ends_with_the_new_channel(self) -> None:
        fixture = talking()
        fixture.call.replaced(Side.CALLER, TAKER)
        fixture.call.leg_left("1700.1")
        fixture.call.inputs.caller_hung_up(Cause.NORMAL)
        fixture.call.leg_destroyed(fixture.call.leg, Cause.NORMAL)
        recorded_over(fixture)
        self.assertEqual((fixture.over, fixture.clock.getDelayedCalls()), ([fixture.call], []))

    def test_what_another_process_needs_follows(self) -> None:
        fixture = talking()
        fixture.asterisk.responses["GET channels/1700.1/variable"] = b'{"value": "a pause"}'
        fixture.call.replaced(Side.CALLER, TAKER)
        stored = fixture.asterisk.queries[f"POST channels/{fixture.call.leg}/variable"]
        self.assertEqual(stored["variable"], CALL_VARIABLE)
        state = decode_takeover_state(stored["value"])
        assert state is not None
        self.assertEqual((state.caller, state.leg, state.generation), (TAKER.id, fixture.call.leg, 2))
        copied = fixture.asterisk.queries[f"POST channels/{TAKER.id}/variable"]
        self.assertIn(copied["variable"], (PAUSE_VARIABLE, "VOXREC_MUTED", "TRANSFER_CONTEXT"))

    def test_it_cannot_transfer_the_call(self) -> None:
        fixture = talking()
        fixture.call.replaced(Side.CALLER, TAKER)
        query = fixture.asterisk.queries[f"POST channels/{TAKER.id}/variable"]
        self.assertEqual(query, {"variable": "TRANSFER_CONTEXT", "value": "voxrec-nowhere"})

    def test_it_is_refused_when_the_call_ends(self) -> None:
        fixture = ending()
        fixture.take_requests()
        fixture.call.replaced(Side.CALLER, TAKER)
        self.assertEqual(fixture.take_requests(), [f"DELETE channels/{TAKER.id}"])

    def test_detached_calls_change_nothing_any_more(self) -> None:
        fixture = talking()
        fixture.call.replaced(Side.CALLER, TAKER)
        fixture.take_requests()
        fixture.call.inputs.detach()
        self.assertEqual((fixture.take_requests(), fixture.clock.getDelayedCalls()), ([], []))


class DepartureTests(ReplacementTestCase):
    """Channels that an operator moves out of the application."""

    def test_a_leg_that_left_and_hung_up_keeps_its_cause(self) -> None:
        fixture = talking()
        fixture.call.leg_left(fixture.call.leg)
        self.assertEqual(fixture.call.status, "talking")
        fixture.call.leg_destroyed(fixture.call.leg, 44)
        self.assertEqual((fixture.call.status, fixture.call.data.hangup_cause), ("clearing", 44))

    def test_a_leg_that_left_for_another_program_ends_the_call_and_is_not_hung_up(self) -> None:
        for make in (ringing, talking):
            fixture = make()
            fixture.take_requests()
            fixture.call.leg_left(fixture.call.leg)
            fixture.clock.advance(1)
            self.assertEqual((fixture.call.status, fixture.take_requests()), ("clearing", ["DELETE channels/CALLER"]))

    def test_a_leg_that_left_while_another_one_replaces_it(self) -> None:
        fixture = talking()
        self.bridged(fixture, TAKER.id)
        fixture.call.leg_left(fixture.call.leg)
        fixture.call.replaced(Side.CALLEE, TAKER)
        fixture.clock.advance(2)
        self.assertEqual(fixture.call.status, "talking")

    def test_a_caller_that_left_for_another_program_is_not_recorded_any_more(self) -> None:
        fixture = talking()
        fixture.call.inputs.caller_left()
        self.assertEqual(fixture.take_requests(), ["DELETE channels/voxrec-CALL-leg"])
        fixture.clock.advance(1)
        self.assertEqual(fixture.take_requests(), ["StopMixMonitor CALLER"])

    def test_a_caller_that_left_and_hung_up_needs_no_command(self) -> None:
        fixture = talking()
        fixture.call.inputs.caller_left()
        fixture.take_requests()
        fixture.call.inputs.caller_hung_up(Cause.NORMAL)
        fixture.clock.advance(1)
        self.assertEqual(fixture.take_requests(), [])


class RoutingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.process = ProcessFixture(ProfileDirectory(make_profile()))
        self.calls = [self.talk("1700.1"), self.talk("1700.2")]
        self.process.asterisk.take_requests()

    def talk(self, channel: str) -> LiveCall:
        self.process.inbound_call(make_caller(channel))
        call = self.process.calls[-1]
        self.process.answer(call)
        return call

    def enter(self, channel: str, replaced: str, name: str = "Local/_attended@transfer-00000001;1") -> None:
        entering = events.Channel(id=channel, name=name, state="Up")
        self.process.router.handle(events.StasisStart(entering, (), events.Channel(id=replaced)))

    def test_the_far_end_of_one_call_consults_through_another_one(self) -> None:
        first, second = self.calls
        self.enter("1700.8", second.inbound.channel)
        self.enter("1700.9", first.leg)
        self.assertEqual((first.leg, second.inbound.channel), ("1700.9", "1700.8"))
        self.process.router.handle(events.StasisEnd(events.Channel(id="1700.2")))
        self.process.router.handle(events.StasisEnd(events.Channel(id=f"voxrec-{first.id}-leg")))
        self.assertEqual([call.status for call in self.calls], ["talking", "talking"])
        self.process.router.handle(events.ChannelDestroyed(events.Channel(id="1700.9"), 16))
        self.process.router.handle(events.ChannelDestroyed(events.Channel(id="1700.8"), 16))
        self.assertEqual([call.data.hangup_by for call in self.calls], ["callee", "caller"])

    def test_channels_of_calls_that_are_over_are_forgotten(self) -> None:
        first, second = self.calls
        self.enter("1700.8", second.inbound.channel)
        for call, caller in ((first, "1700.1"), (second, "1700.8")):
            self.process.files.close(call)
            self.process.router.handle(events.StasisEnd(events.Channel(id=caller)))
            self.process.router.handle(events.StasisEnd(events.Channel(id="1700.2")))
            self.process.router.handle(events.ChannelDestroyed(events.Channel(id=call.leg), 16))
        self.assertEqual(self.process.calls, [])
        for channel in ("1700.1", "1700.2", "1700.8"):
            live_calls = self.process.live_calls
            self.assertEqual((live_calls.of_caller(channel), live_calls.of_leg(channel)), (None, None))

    def test_a_channel_that_replaces_none_of_a_live_call_is_ended(self) -> None:
        for replaced in ("unknown", "voxrec-10000000-0000-4000-8000-000000000009-leg"):
            self.enter("1700.9", replaced)
            self.assertEqual(self.process.asterisk.take_requests(), ["DELETE channels/1700.9"])

    def test_placeholders(self) -> None:
        for name in ("Local/100@voxrec-transfer-00000a1f;1", "Local/a@b@voxrec-transfer-00000001;2"):
            self.assertTrue(is_placeholder(name), name)
        for name in (
            "Local/_attended@transfer-00000001;1",
            "PJSIP/trunk-00000001",
            "Local/x@voxrec-transfer-00000001;1@other-00000001;1",
            "",
        ):
            self.assertFalse(is_placeholder(name), name)
