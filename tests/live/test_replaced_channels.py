"""Transfers that Asterisk completes itself: channels of a call are replaced by others that voxrec did not create."""

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from twisted.protocols.portforward import ProxyServer

from tests.live.live_test_case import PROFILE_SECONDS, shared_stack
from tests.live.test_signalling import THIRD_HZ, RecordedCall, SignallingTestCase
from voxrec.sandbox import demo_call, tones
from voxrec.sandbox.phone import Phone
from voxrec.sandbox.rootfs import ASTERISK_16
from voxrec.sandbox.sip_user_agent import OK, SipMessage, SipResponse, SipUserAgent
from voxrec.sandbox.stack import Stack
from voxrec.sandbox.tcp_proxy import TcpProxy

RINGING = SipResponse(180)
PROMPT_HZ = 700.0
JOIN_SECONDS = 1.2  # from the transfer until the new party is heard, with the re-INVITEs and 0.5 s in Asterisk
_TAG = re.compile(r";tag=([^;\s]+)")


def replaces_of(invite: SipMessage, own_tag: str) -> str:
    """Return the Replaces that names the dialog of an INVITE from Asterisk; ``own_tag`` is the tag of the response."""
    (their_tag,) = _TAG.findall(invite.header("from"))
    return f"{invite.header('call-id')};to-tag={their_tag};from-tag={own_tag}"


def replaces_of_caller(answer: SipMessage) -> str:
    """Return the Replaces that names the dialog of an INVITE to Asterisk, by its response."""
    tags = [_TAG.findall(answer.header(name))[0] for name in ("to", "from")]
    return f"{answer.header('call-id')};to-tag={tags[0]};from-tag={tags[1]}"


class ReplacedChannelTestCase(SignallingTestCase):
    async def start_phone(self, name: str, hz: float, **options: Any) -> Phone:
        """Start a phone that answers and plays a tone."""
        tone = tones.write_tone(self.directory / f"{name}.tone.wav", hz, 1.0)
        phone = Phone.make_callee(self.reactor, self.directory, name=name, play=tone, **options)
        return await self.kill_at_end(phone).start()

    async def start_agent(self, stack: Stack, **options: Any) -> SipUserAgent:
        """Start a user agent without audio, which answers all calls unless the options say otherwise."""
        agent = SipUserAgent(stack.asterisk.sip_address, **options)
        agent.listen(self.reactor)
        self.addCleanup(agent.stop)
        return agent

    async def add_profile(self, stack: Stack, remote_sip_uri: str, **fields: Any) -> str:
        """Add a Profile that records both sides, and return its id."""
        defaults = {"record": True, "recordChannels": "dual", "recordBeepAtStart": False}
        created = await stack.request_json("PUT", "/profiles", {"remoteSipUri": remote_sip_uri, **defaults, **fields})
        return str(created["id"])

    async def take_over_with(self, stack: Stack, replaces: str, seconds: float, hz: float = THIRD_HZ) -> Phone:
        """Start a phone that calls with Replaces."""
        tone = tones.write_tone(self.directory / "taker.tone.wav", hz, 1.0)
        taker = Phone.make_caller(
            self.reactor,
            self.directory,
            f"sip:anything@{stack.sip_host_port}",
            name="taker",
            play=tone,
            seconds=seconds,
            headers=[f"Replaces: {replaces}"],
        )
        return await self.kill_at_end(taker).start()

    async def refer_in_dialog(self, caller: SipUserAgent, target: str) -> str:
        """Send REFER in the dialog of a caller's last INVITE, and return the outcome that the last NOTIFY reports."""
        before = len(caller.requests("NOTIFY"))
        caller.refer(target)

        async def ended() -> bool:
            return len(caller.requests("NOTIFY")) >= before + 2  # 100 and the outcome

        self.assertTrue(await (await shared_stack(self.recipe)).wait_until(ended, 5))
        return caller.requests("NOTIFY")[-1].raw.decode().splitlines()[-1]

    def transfers(self, recording: Mapping[str, Any]) -> list[tuple[float, str]]:
        """Return the time and the party of each transfer in the timeline."""
        return [(entry["at"], entry["by"]) for entry in recording["timeline"] if entry["event"] == "transferred"]

    def assert_tone(self, samples: tones.Samples, rate: int, channel: int, hz: float, start: float, end: float) -> None:
        """Assert that one side of a recording has a tone without a gap."""
        missing = tones.missing_milliseconds(samples[:, channel], rate, hz, start, end)
        self.assertLess(missing, 2 * demo_call.TOLERATED_GAP_MS, f"{hz} Hz from {start} to {end}")

    def assert_heard(self, phone: Phone, hz: float, seconds: float) -> None:
        """Assert that a phone has received a tone for at least ``seconds``."""
        received, rate = tones.load_audio(phone.received_audio)
        heard = sum(end - start for start, end in tones.tone_intervals(received[:, 0], rate, hz))
        self.assertGreater(heard, seconds, f"{phone.name}: {hz} Hz")

    async def assert_calls_are_over(self, stack: Stack, seconds: float = 3.0) -> None:
        """Assert that no call is left, much sooner than after the timeout for clearing."""

        async def over() -> bool:
            return not await stack.request_json("GET", "/calls")

        self.assertTrue(await stack.wait_until(over, seconds), await stack.request_json("GET", "/calls"))


class ConsultationTests(ReplacedChannelTestCase):
    """A REFER whose Replaces names a dialog of the same Asterisk."""

    async def test_the_far_end_consults_through_voxrec(self) -> None:
        third = await self.start_phone("third", THIRD_HZ)
        stack = await shared_stack(self.recipe)
        self.addCleanup(self.end_calls, stack)
        consulted = await self.add_profile(stack, third.uri)
        call = await self.start_recorded_call(7.0)
        await call.callee.hold()
        await call.callee.start_consultation(f"sip:{consulted}@{stack.sip_host_port}")
        await self.sleep(1.5)
        result = await call.callee.complete_attended_transfer()
        self.assertEqual(result.code, 200)
        recording, samples, rate = await self.finished_recording(stack, call.profile_id, call.caller)
        await self.assert_calls_are_over(stack)
        self.assertEqual((await third.wait_until_ended(5)).code, 200)
        seconds = len(samples) / rate
        self.assertApproximates(seconds, 7.0, 0.4)
        ((at, by),) = self.transfers(recording)
        self.assertEqual((by, recording["timeline"][-1]["by"]), ("callee", "caller"))
        self.assert_tone(samples, rate, demo_call.LEFT, demo_call.CALLER_HZ, 0.3, seconds - 0.2)
        self.assert_tone(samples, rate, demo_call.RIGHT, THIRD_HZ, at + JOIN_SECONDS, seconds - 0.3)
        self.assert_heard(third, demo_call.CALLER_HZ, seconds - at - JOIN_SECONDS - 0.5)
        self.assert_heard(call.caller, THIRD_HZ, seconds - at - JOIN_SECONDS - 0.5)
        consultation = await stack.wait_for_recording(consulted)
        self.assertEqual(
            (consultation["state"], [by for _, by in self.transfers(consultation)]), ("completed", ["caller"])
        )

    async def test_a_far_end_joins_two_callers(self) -> None:
        stack = await shared_stack(self.recipe)
        self.addCleanup(self.end_calls, stack)
        agent = await self.start_agent(stack)
        profiles = [await self.add_profile(stack, f"sip:{user}@{agent.host_port}") for user in ("one", "two")]
        callers = []
        for profile, hz in zip(profiles, (demo_call.CALLER_HZ, THIRD_HZ), strict=True):
            tone = tones.write_tone(self.directory / f"{hz}.wav", hz, 1.0)
            callers.append(await self.start_caller(stack, profile, name=f"caller-{hz}", play=tone, seconds=7.0))
            await callers[-1].wait_for("confirmed")
        first, second = agent.requests("INVITE")
        target = f"sip:two@{agent.host_port}?Replaces={quote(replaces_of(second, agent.tag), safe='')}"
        await self.sleep(0.5)
        agent.transfer(first, target)
        recordings = [
            await self.finished_recording(stack, profile, caller)
            for profile, caller in zip(profiles, callers, strict=True)
        ]
        await self.assert_calls_are_over(stack)
        # the transferor itself ends the dialog in which it has sent REFER, when NOTIFY has reported success
        self.assertEqual([bye.header("call-id") for bye in agent.requests("BYE")], [second.header("call-id")])
        self.assertIn(b"SIP/2.0 200 OK", agent.requests("NOTIFY")[-1].raw)
        self.assertApproximates(len(recordings[0][1]) / recordings[0][2], 7.0, 0.4)
        own = (demo_call.CALLER_HZ, THIRD_HZ)
        for (recording, samples, rate), hz, other, caller in zip(recordings, own, reversed(own), callers, strict=True):
            self.assertEqual([by for _, by in self.transfers(recording)], ["callee"])
            seconds = len(samples) / rate
            self.assertGreater(seconds, 4.0)  # the second call began later, and ends with the first one
            self.assert_tone(samples, rate, demo_call.LEFT, hz, 0.3, seconds - 0.3)
            joined = self.transfers(recording)[0][0] + JOIN_SECONDS
            self.assert_tone(samples, rate, demo_call.RIGHT, other, joined, seconds - 0.4)
            self.assert_heard(caller, other, 3.0)

    async def test_a_caller_joins_its_two_calls(self) -> None:
        stack = await shared_stack(self.recipe)
        self.addCleanup(self.end_calls, stack)
        far_ends = [
            await self.start_phone(name, hz) for name, hz in (("desk", demo_call.CALLEE_HZ), ("third", THIRD_HZ))
        ]
        profiles = [await self.add_profile(stack, far_end.uri) for far_end in far_ends]
        await self.sleep(PROFILE_SECONDS)
        callers = [await self.start_agent(stack) for _ in profiles]
        answers = [
            await caller.request(self.reactor, "INVITE", profile)
            for caller, profile in zip(callers, profiles, strict=True)
        ]
        await self.sleep(1.0)
        target = f"sip:third@127.0.0.1?Replaces={quote(replaces_of_caller(answers[1]), safe='')}"
        self.assertEqual(await self.refer_in_dialog(callers[0], target), "SIP/2.0 200 OK")
        await self.sleep(4.0)
        callers[0].hang_up()
        await self.end_calls(stack)
        await self.assert_calls_are_over(stack)
        for profile, own, other in zip(profiles, far_ends, reversed(far_ends), strict=True):
            recording = await stack.wait_for_recording(profile)
            self.assertEqual(
                (recording["state"], [by for _, by in self.transfers(recording)]), ("completed", ["caller"])
            )
            self.assertEqual((await own.wait_until_ended(5)).code, 200)
            self.assert_heard(own, THIRD_HZ if other.name == "third" else demo_call.CALLEE_HZ, 2.0)
        await self.assert_asterisk_is_idle(stack)

    async def test_what_a_caller_must_not_do_is_refused(self) -> None:
        stack = await shared_stack(self.recipe)
        self.addCleanup(self.end_calls, stack)
        far_end, caller = [await self.start_agent(stack) for _ in range(2)]
        profile = await self.add_profile(stack, f"sip:desk@{far_end.host_port}")
        await self.sleep(PROFILE_SECONDS)
        outside = await caller.request(self.reactor, "REFER", profile, headers={"Refer-To": "<sip:x@127.0.0.1>"})
        joining = {"Join": "a@b;to-tag=c;from-tag=d", "Require": "join"}
        join = await caller.request(self.reactor, "INVITE", profile, headers=joining)
        self.assertEqual((outside.status, join.status), (501, 420))
        await caller.request(self.reactor, "INVITE", profile)
        unknown = quote("a@b;to-tag=c;from-tag=d", safe="")
        for target in ("sip:100@127.0.0.1", f"sip:100@127.0.0.1?Replaces={unknown}"):
            self.assertEqual(await self.refer_in_dialog(caller, target), "SIP/2.0 404 Not Found")
        (call,) = await stack.request_json("GET", "/calls")
        self.assertEqual(call["state"], "talking")
        caller.hang_up()
        await self.assert_calls_are_over(stack)
        await self.assert_asterisk_is_idle(stack)


class ConsultationOnAsterisk16Tests(ConsultationTests):
    """The same tests on Asterisk 16."""

    recipe = ASTERISK_16


class ReplacesTests(ReplacedChannelTestCase):
    """INVITE with Replaces (RFC 3891)."""

    async def test_the_new_party_hears_the_announcement(self) -> None:
        prompt = await self.install_prompt(await shared_stack(self.recipe), PROMPT_HZ, 1.0)
        stack, profile, far_end, caller = await self.start_replaceable_call(
            seconds=8.0, recordPrompt="custom", recordPromptCustomId=prompt, recordPromptRequired=True
        )
        await self.sleep(1.5)
        (invite,) = far_end.requests("INVITE")
        taker = await self.take_over_with(stack, replaces_of(invite, far_end.tag), 10.0)
        recording, samples, rate = await self.finished_recording(stack, profile, caller)
        await taker.wait_until_ended(5)
        details = [entry.get("detail") for entry in recording["timeline"] if entry["event"] == "announcement.finished"]
        self.assertEqual(details, [None, "transfer"], recording["timeline"])
        for phone, times in ((caller, 2), (taker, 1)):
            received, received_rate = tones.load_audio(phone.received_audio)
            heard = tones.tone_intervals(received[:, 0], received_rate, PROMPT_HZ)
            self.assertApproximates(sum(end - start for start, end in heard), times, 0.2, phone.name)
        recorded = tones.tone_intervals(samples[:, demo_call.RIGHT], rate, PROMPT_HZ)
        self.assertApproximates(sum(end - start for start, end in recorded), 2, 0.2)

    async def start_replaceable_call(
        self, response: SipResponse = OK, seconds: float = 5.0, **fields: Any
    ) -> tuple[Stack, str, SipUserAgent, Phone]:
        """Start a call to a far end without audio; return the stack, the Profile, the far end and the caller."""
        stack = await shared_stack(self.recipe)
        self.addCleanup(self.end_calls, stack)
        far_end = await self.start_agent(stack, invite_responses=(response,))
        profile = await self.add_profile(stack, f"sip:desk@{far_end.host_port}", **fields)
        caller = await self.start_caller(stack, profile, seconds=seconds)
        await caller.wait_for("confirmed" if response is OK else "ringing")
        return stack, profile, far_end, caller

    async def start_call_of_replaceable_caller(self) -> tuple[Stack, str, Phone, SipUserAgent, SipMessage]:
        """Start a call of a caller without audio; return the stack, Profile, far end, caller and the 200."""
        stack = await shared_stack(self.recipe)
        self.addCleanup(self.end_calls, stack)
        desk = await self.start_phone("desk", demo_call.CALLEE_HZ)
        profile = await self.add_profile(stack, desk.uri)
        await self.sleep(PROFILE_SECONDS)
        caller = await self.start_agent(stack)
        answer = await caller.request(self.reactor, "INVITE", profile)
        await self.sleep(1.0)
        return stack, profile, desk, caller, answer

    async def test_the_far_end_is_replaced(self) -> None:
        stack, profile, far_end, caller = await self.start_replaceable_call(seconds=7.0)
        await self.sleep(0.5)
        (invite,) = far_end.requests("INVITE")
        taker = await self.take_over_with(stack, replaces_of(invite, far_end.tag), 10.0)
        recording, samples, rate = await self.finished_recording(stack, profile, caller)
        await self.assert_calls_are_over(stack)
        self.assertEqual((await taker.wait_until_ended(5)).code, 200)
        self.assertEqual(len(far_end.requests("BYE")), 1)
        seconds = len(samples) / rate
        self.assertApproximates(seconds, 7.0, 0.5)
        ((at, by),) = self.transfers(recording)
        self.assertEqual((by, recording["timeline"][-1]["by"]), ("callee", "caller"))
        self.assert_tone(samples, rate, demo_call.LEFT, demo_call.CALLER_HZ, 0.3, seconds - 0.2)
        self.assert_tone(samples, rate, demo_call.RIGHT, THIRD_HZ, at + 0.5, seconds - 0.2)
        self.assert_heard(taker, demo_call.CALLER_HZ, 2.0)

    async def test_the_caller_is_replaced(self) -> None:
        stack, profile, desk, caller, answer = await self.start_call_of_replaceable_caller()
        taker = await self.take_over_with(stack, replaces_of_caller(answer), 3.0)
        recording, samples, rate = await self.finished_recording(stack, profile, taker)
        await self.assert_calls_are_over(stack)
        self.assertEqual(len(caller.requests("BYE")), 1)
        self.assertEqual((await desk.wait_until_ended(5)).code, 200)
        ((at, by),) = self.transfers(recording)
        seconds = len(samples) / rate
        self.assertEqual(by, "caller")
        self.assertApproximates(seconds, at + 3.0, 0.4)
        self.assert_tone(samples, rate, demo_call.RIGHT, demo_call.CALLEE_HZ, 0.3, seconds - 0.2)
        self.assert_tone(samples, rate, demo_call.LEFT, THIRD_HZ, at + 0.3, seconds - 0.2)
        self.assert_heard(taker, demo_call.CALLEE_HZ, 2.0)
        self.assert_heard(desk, THIRD_HZ, 2.0)

    async def test_the_caller_is_replaced_during_a_pause(self) -> None:
        stack, profile, _, _, answer = await self.start_call_of_replaceable_caller()
        path = await self.live_recording_path(stack, profile)
        await stack.request_json("POST", path, {"state": "paused"})
        taker = await self.take_over_with(stack, replaces_of_caller(answer), 4.5)
        await taker.wait_for("confirmed")
        await self.sleep(1.5)
        await stack.request_json("POST", path, {"state": "recording"})
        recording, samples, rate = await self.finished_recording(stack, profile, taker)
        await self.assert_calls_are_over(stack)
        self.assert_paused(recording, samples, rate, 1)
        self.assertIn("recording.suspended", [entry["event"] for entry in recording["timeline"]])
        ((at, _),) = self.transfers(recording)
        ((paused, resumed),) = self.pauses(recording)
        seconds = len(samples) / rate
        self.assertApproximates(seconds, at + 4.5, 0.4)
        self.assertGreater(resumed - at, 1.4)  # nothing of the silence is left out
        self.assert_tone(samples, rate, demo_call.RIGHT, demo_call.CALLEE_HZ, 0.3, paused - 0.1)
        for channel, hz in ((demo_call.RIGHT, demo_call.CALLEE_HZ), (demo_call.LEFT, THIRD_HZ)):
            self.assert_tone(samples, rate, channel, hz, resumed + 0.1, seconds - 0.2)

    async def test_a_ringing_far_end_is_picked_up(self) -> None:
        stack, profile, far_end, caller = await self.start_replaceable_call(RINGING, ringTimeoutSeconds=20)
        (invite,) = far_end.requests("INVITE")
        taker = await self.take_over_with(stack, replaces_of(invite, far_end.tag), 10.0)
        _, samples, rate = await self.finished_recording(stack, profile, caller)
        await self.assert_calls_are_over(stack)
        self.assertEqual(len(far_end.requests("CANCEL")), 1)
        self.assertEqual((await taker.wait_until_ended(5)).code, 200)
        seconds = len(samples) / rate
        self.assertApproximates(seconds, 5.0, 0.4)
        self.assert_tone(samples, rate, demo_call.LEFT, demo_call.CALLER_HZ, 0.3, seconds - 0.2)
        self.assert_tone(samples, rate, demo_call.RIGHT, THIRD_HZ, 0.5, seconds - 0.2)

    async def test_a_ringing_far_end_is_picked_up_by_the_dialplan(self) -> None:
        stack, profile, far_end, caller = await self.start_replaceable_call(RINGING, seconds=6.0, ringTimeoutSeconds=20)
        asterisk = stack.asterisk
        listed = await asterisk.run_console_command(self.reactor, "core show channels concise")
        (ringing,) = [line.split("!")[0] for line in listed.splitlines() if line.startswith("PJSIP/trusted-")]
        command = f"dialplan add extension 9999,1,PickupChan,{ringing} into from-trunk replace"
        await asterisk.run_console_command(self.reactor, command)
        tone = tones.write_tone(self.directory / "taker.tone.wav", THIRD_HZ, 1.0)
        taker = Phone.make_caller(
            self.reactor, self.directory, f"sip:9999@{stack.sip_host_port}", name="taker", play=tone, seconds=20.0
        )
        await self.kill_at_end(taker).start()
        _, samples, rate = await self.finished_recording(stack, profile, caller)
        await self.assert_calls_are_over(stack)
        self.assertEqual(len(far_end.requests("CANCEL")), 1)
        self.assertEqual((await taker.wait_until_ended(5)).code, 200)
        seconds = len(samples) / rate
        self.assert_tone(samples, rate, demo_call.LEFT, demo_call.CALLER_HZ, 0.3, seconds - 0.2)
        self.assert_tone(samples, rate, demo_call.RIGHT, THIRD_HZ, 0.5, seconds - 0.2)

    async def test_an_unknown_dialog_is_481(self) -> None:
        stack = await shared_stack(self.recipe)
        taker = await self.take_over_with(stack, "unknown@127.0.0.1;to-tag=a;from-tag=b", 1.0)
        self.assertEqual((await taker.wait_until_ended(5)).code, 481)
        await self.assert_asterisk_is_idle(stack)


class ReplacesOnAsterisk16Tests(ReplacesTests):
    """The same tests on Asterisk 16."""

    recipe = ASTERISK_16


class DelayingServer(ProxyServer):
    """A connection of voxrec to AMI, on which the start of a MixMonitor, or the response to it, is delayed."""

    noisy = False

    def dataReceived(self, data: bytes) -> None:
        proxy: Any = self.factory
        if b"Action: MixMonitor\r\n" in data and proxy.delays:
            asterisk: Any = self.peer
            if proxy.delays.pop() == "response":
                asterisk.transport.pauseProducing()
                proxy.held.append(asterisk.transport.resumeProducing)
            else:
                proxy.held.append(lambda: asterisk.transport.write(data))
                return
        super().dataReceived(data)


class DelayingProxy(TcpProxy):
    """A proxy to AMI that delays what ``delays`` names: ``command`` or ``response``, the next one last."""

    protocol = DelayingServer

    def __init__(self, target: int) -> None:
        super().__init__(target)
        self.delays: list[str] = []
        self.held: list[Callable[[], object]] = []

    def deliver(self) -> None:
        """Deliver what is delayed."""
        while self.held:
            self.held.pop()()


class StartTests(ReplacedChannelTestCase):
    """The caller's channel is replaced before Asterisk has responded to the start of the recording."""

    proxy_type = DelayingProxy

    async def test_the_recording_continues_with_the_new_caller(self) -> None:
        stack, proxy = await self.start_stack_behind_proxy()
        assert isinstance(proxy, DelayingProxy)
        for delayed in ("command", "response"):
            desk = await self.start_phone(f"desk-{delayed}", demo_call.CALLEE_HZ)
            profile = await self.add_profile(stack, desk.uri)
            await self.sleep(PROFILE_SECONDS)
            caller = await self.start_agent(stack)
            proxy.delays.append(delayed)
            answer = await caller.request(self.reactor, "INVITE", profile)
            await self.sleep(0.2)
            self.assertEqual(len(proxy.held), 1, delayed)
            taker = await self.take_over_with(stack, replaces_of_caller(answer), 4.0)
            await taker.wait_for("confirmed")
            await self.sleep(1.0)  # the former channel is gone
            proxy.deliver()
            recording, samples, rate = await self.finished_recording(stack, profile, taker)
            await self.assert_calls_are_over(stack)
            self.assertEqual(recording["state"], "completed", delayed)
            seconds = len(samples) / rate
            self.assertGreater(seconds, 2.5, f"{delayed}: {recording}")
            for channel, hz in ((demo_call.RIGHT, demo_call.CALLEE_HZ), (demo_call.LEFT, THIRD_HZ)):
                self.assert_tone(samples, rate, channel, hz, seconds - 2.3, seconds - 0.2)
        await self.assert_asterisk_is_idle(stack)


class StartOnAsterisk16Tests(StartTests):
    """The same tests on Asterisk 16."""

    recipe = ASTERISK_16


class OperatorTests(ReplacedChannelTestCase):
    """An operator moves a channel elsewhere on Asterisk's console."""

    async def start_recorded_call(self, *args: Any, **kwargs: Any) -> RecordedCall:
        call = await super().start_recorded_call(*args, **kwargs)
        self.addCleanup(self.end_calls, call.stack)
        return call

    async def redirect(self, call: RecordedCall, name: str) -> None:
        """Redirect the channel whose name begins with ``name`` to a dialplan that voxrec does not know."""
        asterisk = call.stack.asterisk
        await asterisk.run_console_command(self.reactor, "dialplan add extension 1,1,Wait,1.5 into elsewhere")
        listed = await asterisk.run_console_command(self.reactor, "core show channels concise")
        (channel,) = [line.split("!")[0] for line in listed.splitlines() if line.startswith(name)]
        await asterisk.run_console_command(self.reactor, f"channel redirect {channel} elsewhere,1,1")

    async def test_a_redirected_caller_is_not_recorded_any_more(self) -> None:
        call = await self.start_recorded_call(10.0)
        await self.sleep(1.0)
        await self.redirect(call, "PJSIP/trunk-")
        recording = await call.stack.wait_for_recording(call.profile_id)
        self.assertEqual((await call.callee.wait_until_ended(5)).code, 200)
        self.assertTrue(call.caller.running)  # it still hears the operator's dialplan
        await self.assert_calls_are_over(call.stack)
        self.assertEqual(recording["state"], "completed")
        await call.caller.wait_until_ended(5)
        await self.assert_asterisk_is_idle(call.stack)

    async def test_a_party_that_an_operator_takes_out_of_the_bridge_is_put_back(self) -> None:
        call = await self.start_recorded_call(26.0)
        await self.sleep(1.0)
        (live,) = await call.stack.request_json("GET", "/calls")
        bridge = f"voxrec-{live['id']}-bridge"
        asterisk = call.stack.asterisk
        await asterisk.run_console_command(self.reactor, f"bridge kick {bridge} all")

        async def bridged() -> bool:
            return (await asterisk.run_console_command(self.reactor, f"bridge show {bridge}")).count("Channel:") == 2

        self.assertFalse(await bridged())
        self.assertTrue(await call.stack.wait_until(bridged, 22))
        await call.caller.hang_up()
        recording = await call.stack.wait_for_recording(call.profile_id)
        self.assertEqual(recording["state"], "completed")
        await self.assert_asterisk_is_idle(call.stack)

    async def test_a_redirected_far_end_ends_the_call(self) -> None:
        call = await self.start_recorded_call(10.0)
        await self.sleep(1.0)
        await self.redirect(call, "PJSIP/trusted-")
        self.assertEqual((await call.caller.wait_until_ended(5)).code, 200)
        recording = await call.stack.wait_for_recording(call.profile_id)
        self.assertEqual(recording["state"], "completed")
        await self.assert_calls_are_over(call.stack)
        await call.callee.wait_until_ended(5)
        await self.assert_asterisk_is_idle(call.stack)


class OperatorOnAsterisk16Tests(OperatorTests):
    """The same tests on Asterisk 16."""

    recipe = ASTERISK_16
