"""Recorded calls over the trunks that docs/trunks.md describes: TCP, TLS with SRTP, IPv6, and session timers."""

import re
import shutil
import socket
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from tests.certificates import make_pem
from tests.live.live_test_case import LiveTestCase, make_stack, shared_stack
from voxrec.deferreds import gather
from voxrec.sandbox import demo_call, tones
from voxrec.sandbox.asterisk import LOOPBACK, free_port
from voxrec.sandbox.impaired_call import ImpairedCall, Party
from voxrec.sandbox.phone import Network, Phone
from voxrec.sandbox.rootfs import ASTERISK_16, ASTERISK_22, Recipe
from voxrec.sandbox.sip_user_agent import SipUserAgent
from voxrec.sandbox.stack import Stack

IPV6_LOOPBACK = "::1"
SECONDS = 3.0
SESSION_SECONDS = 90  # the shortest that RFC 4028 permits
_DOCUMENT = Path(__file__).parents[2] / "docs" / "trunks.md"


def documented_configuration(heading: str) -> str:
    """Return the lines for pjsip.conf in a section of docs/trunks.md."""
    section = _DOCUMENT.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    match = re.search(r"```ini\n(.*?)```", section, re.DOTALL)
    assert match is not None, f"no configuration below {heading!r}"
    return match[1]


class TrunkTests(LiveTestCase):
    """Each test has a stack of its own: transports are read when Asterisk starts."""

    def setUp(self) -> None:
        super().setUp()
        self.certificate = self.directory / "certificate.pem"
        private, public = make_pem(LOOPBACK, IPV6_LOOPBACK)
        self.certificate.write_bytes(public + private)

    async def start_stack(self, configuration: str, replacements: Mapping[str, str]) -> Stack:
        """Start a stack with an addition to pjsip.conf, in which addresses and files of the documentation are replaced.

        A certificate for TLS is written to ``self.certificate``.
        """
        stack = make_stack({"calls": {"allowed_hosts": [LOOPBACK, IPV6_LOOPBACK]}}, self.recipe)
        self.addCleanup(lambda: Deferred.fromCoroutine(stack.stop()))
        keys = stack.asterisk.directory / "keys"
        keys.mkdir(parents=True)
        shutil.copy(self.certificate, keys)
        for documented, real in replacements.items():
            self.assertIn(documented, configuration)
            configuration = configuration.replace(documented, real)
        configuration = re.sub(
            r"/\S+\.(crt|key)", stack.asterisk.path_inside(keys / self.certificate.name), configuration
        )
        stack.asterisk.additions["pjsip.conf"] = configuration
        await stack.start()
        return stack

    async def assert_call_is_recorded(self, stack: Stack, network: Network, port: int) -> dict[str, Any]:
        """Place a call in which both phones use ``network``, and assert that both sides are heard and recorded.

        ``port`` is where Asterisk listens. Return the Recording.
        """
        caller_tone = tones.write_tone(self.directory / "caller.tone.wav", demo_call.CALLER_HZ, 1.0)
        callee_tone = tones.write_tone(self.directory / "desk.tone.wav", demo_call.CALLEE_HZ, 1.0)
        callee = Phone.make_callee(self.reactor, self.directory, play=callee_tone, network=network)
        self.kill_at_end(callee)
        await callee.start()
        settings = {"recordChannels": "dual", "record": True, "recordPrompt": "none", "recordBeepAtStart": False}
        profile = await stack.request_json("PUT", "/profiles", {"remoteSipUri": callee.uri, **settings})
        caller = Phone.make_caller(
            self.reactor,
            self.directory,
            network.uri(profile["id"], port),
            play=caller_tone,
            seconds=SECONDS,
            network=network,
        )
        self.kill_at_end(caller)
        await self.sleep(0.3)
        await caller.start()
        await caller.wait_for("confirmed")
        await caller.wait_until_ended()
        recording: dict[str, Any] = await stack.wait_for_recording(profile["id"])
        audio = self.directory / "recording.wav"
        audio.write_bytes((await stack.request("GET", f"/recordings/{recording['id']}/audio")).body)
        measured = demo_call.measure_recording(audio)
        problems = [each for each in measured.problems() if "announcement" not in each]
        self.assertEqual(problems, [], recording)
        self.assertGreater(measured.seconds, SECONDS - demo_call.EDGE_SECONDS)
        for phone, hz in ((caller, demo_call.CALLEE_HZ), (callee, demo_call.CALLER_HZ)):
            await phone.wait_until_ended()
            samples, rate = tones.load_audio(phone.received_audio)
            self.assertNotEqual(tones.tone_intervals(samples[:, 0], rate, hz), [], phone.name)
        return recording

    async def test_tcp(self) -> None:
        port = free_port(socket.SOCK_STREAM)
        stack = await self.start_stack(documented_configuration("TCP"), {"0.0.0.0:5060": f"{LOOPBACK}:{port}"})
        await self.assert_call_is_recorded(stack, Network("tcp"), port)

    async def test_tls_and_srtp(self) -> None:
        port = free_port(socket.SOCK_STREAM)
        network = Network("tls", srtp=True, certificate=str(self.certificate))
        stack = await self.start_stack(documented_configuration("TLS and SRTP"), {"0.0.0.0:5061": f"{LOOPBACK}:{port}"})
        await self.assert_call_is_recorded(stack, network, port)
        plain = Phone.make_caller(
            self.reactor,
            self.directory,
            network.uri("+4930404", port),
            name="unencrypted",
            network=replace(network, srtp=False),
        )
        self.kill_at_end(plain)
        await plain.start()
        self.assertEqual((await plain.wait_until_ended()).code, 488)

    async def test_ipv6(self) -> None:
        port = free_port(socket.SOCK_DGRAM)
        stack = await self.start_stack(
            documented_configuration("IPv6") + f"[trunk](+)\nmedia_address = {IPV6_LOOPBACK}\n",
            {"[::]:5060": f"[{IPV6_LOOPBACK}]:{port}", "2001:db8::10": IPV6_LOOPBACK},
        )
        party = Party(address=IPV6_LOOPBACK)
        call = ImpairedCall(
            stack, self.reactor, self.directory, caller=party, callee=party, sip_address=(IPV6_LOOPBACK, port)
        )
        self.addCleanup(call.close)
        fidelity = await call.run()
        heard = (fidelity.heard_by_callee.track, fidelity.heard_by_caller.track)
        for track in (*heard, fidelity.left, fidelity.right):
            assert track is not None, "the call was recorded"
            self.assertGreater(track.found, 380)  # of 400 pieces of 10 ms


class TrunksOnAsterisk16Tests(TrunkTests):
    """The same on Asterisk 16."""

    recipe = ASTERISK_16


class SessionTimerTests(LiveTestCase):
    async def end_of_expired_session(self, recipe: Recipe) -> tuple[float, dict[str, Any], Phone]:
        """Place a call whose caller promises to refresh the session, and does not.

        Return the seconds from the answer to Asterisk's BYE, the Recording, and the callee.
        """
        stack = await shared_stack(recipe)
        directory = self.directory / recipe.name
        tone = tones.write_tone(directory / "desk.tone.wav", demo_call.CALLEE_HZ, 1.0)
        callee = Phone.make_callee(self.reactor, directory, play=tone)
        self.kill_at_end(callee)
        await callee.start()
        profile = await stack.request_json("PUT", "/profiles", {"remoteSipUri": callee.uri, "record": True})
        caller = SipUserAgent(stack.asterisk.sip_address)
        caller.listen(self.reactor)
        self.addCleanup(caller.stop)
        response = await caller.request(
            self.reactor,
            "INVITE",
            profile["id"],
            headers={"Supported": "timer", "Session-Expires": f"{SESSION_SECONDS};refresher=uac"},
        )
        self.assertEqual(response.header("session-expires"), f"{SESSION_SECONDS};refresher=uac")
        answered = self.reactor.seconds()

        async def ended() -> bool:
            return bool(caller.requests("BYE"))

        await stack.wait_until(ended, SESSION_SECONDS)
        seconds = self.reactor.seconds() - answered
        return seconds, await stack.wait_for_recording(profile["id"]), callee

    async def test_session_that_its_caller_does_not_refresh_is_ended_and_recorded(self) -> None:
        for call in await gather(*(self.end_of_expired_session(recipe) for recipe in (ASTERISK_22, ASTERISK_16))):
            seconds, recording, callee = call
            # RFC 4028, section 10: BYE the smaller of 32 s and a third of the interval before the end
            self.assertApproximates(seconds, SESSION_SECONDS - 30, 5)
            await callee.wait_until_ended(5)
            self.assertEqual(recording["state"], "completed", recording)
            self.assertApproximates(recording["duration"], seconds, 1)
            self.assertEqual(recording["timeline"][-1]["event"], "hangup")

    async def test_interval_that_is_too_short_is_refused_with_the_shortest(self) -> None:
        stack = await shared_stack(self.recipe)
        caller = SipUserAgent(stack.asterisk.sip_address)
        caller.listen(self.reactor)
        self.addCleanup(caller.stop)
        headers = {"Supported": "timer", "Session-Expires": "30"}
        response = await caller.request(self.reactor, "INVITE", "+4930404404", headers=headers)
        self.assertEqual((response.status, response.header("min-se")), (422, str(SESSION_SECONDS)))
