"""Base classes of the live tests: a running voxrec with a real Asterisk, and phones that end with their test.

Tests that only place calls share one stack per Asterisk version; tests that stop or break something start their own.
"""

import atexit
import os
import re
import signal
import socket
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import treq
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from twisted.web.http_headers import Headers

from tests.cluster_template import copy_cluster
from tests.temporary import temporary_directory
from voxrec.sandbox import demo_call, tones
from voxrec.sandbox.asterisk import LOOPBACK, free_port
from voxrec.sandbox.observer import existing_bridges, observe_asterisk
from voxrec.sandbox.phone import Phone
from voxrec.sandbox.rootfs import ASTERISK_22, Recipe, asterisk_rootfs
from voxrec.sandbox.sipp import SippCaller
from voxrec.sandbox.stack import STOP_SECONDS, Stack
from voxrec.sandbox.tcp_proxy import TcpProxy

UNTRUSTED_ADDRESS = "127.0.0.7"
"""A loopback address that may be called, and that must not learn withheld numbers."""
PROFILE_SECONDS = 0.3
"""The time after which a new Profile can be called; phones take longer to start, user agents do not."""
MESSAGE_CHANNEL = "Message/ast_msg_queue"
"""The channel that Asterisk keeps from the first SIP MESSAGE on (main/message.c); it belongs to no call."""
SHARED_SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "calls": {
        "ring_timeout": 3,
        "allowed_hosts": ["127.0.0.1", "localhost", UNTRUSTED_ADDRESS],
        "trusted_hosts": ["127.0.0.1"],
    },
    "webhooks": {"allowed_networks": ["127.0.0.1"]},
    "listening": {"enabled": True},
}
_shared_stacks: dict[Recipe, Stack] = {}


def rootfs_of(recipe: Recipe = ASTERISK_22) -> Path | None:
    """Return the root file system of an Asterisk version without reporting progress."""
    return asterisk_rootfs(lambda _line: None, recipe)


def make_stack(settings: Mapping[str, Mapping[str, Any]] | None = None, recipe: Recipe = ASTERISK_22) -> Stack:
    """Return a stack that is not started; it is killed when this process ends, at the latest.

    An embedded PostgreSQL begins with an empty database that has the newest schema.
    """
    stack = make_new_stack(settings, recipe)
    stack.prepare_database = copy_cluster
    return stack


def make_new_stack(settings: Mapping[str, Mapping[str, Any]] | None = None, recipe: Recipe = ASTERISK_22) -> Stack:
    """Return such a stack whose daemon creates an embedded PostgreSQL when it starts first, as in an installation."""
    stack = Stack(reactor, temporary_directory("live"), rootfs_of(recipe), settings)
    stack.asterisk.prefer_audio = True
    atexit.register(_kill, stack)
    return stack


def _kill(stack: Stack) -> None:
    """Kill a stack, and wait until its PostgreSQL has ended: its shared memory would remain without its directory."""
    stack.kill()
    with suppress(OSError, ValueError):  # it does not run
        pid = int((stack.directory / "data" / "postgres" / "cluster" / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGQUIT)
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline:
            os.kill(pid, 0)
            time.sleep(0.02)


async def shared_stack(recipe: Recipe = ASTERISK_22) -> Stack:
    """Return the running stack that the tests share; the first call starts it."""
    if recipe not in _shared_stacks:
        stack = make_stack(SHARED_SETTINGS, recipe)
        await stack.start()
        _shared_stacks[recipe] = stack
    return _shared_stacks[recipe]


def load_beep(recipe: Recipe) -> tones.Samples:
    """Return the samples of Asterisk's beep."""
    root = rootfs_of(recipe) or Path("/")
    # "en" is a symbolic link that is valid only inside that root.
    beep = next(path for path in root.glob("usr/share/asterisk/sounds/*/beep.wav") if path.exists())
    samples, _ = tones.load_audio(beep)
    return samples[:, 0]


class LiveTestCase(TestCase):
    """A test with ``self.directory`` for the files of its phones.

    ``recipe`` is the version of Asterisk; a subclass with another one runs the same tests on that.
    """

    timeout = 180
    recipe: ClassVar[Recipe] = ASTERISK_22
    proxy_type: ClassVar[type[TcpProxy]] = TcpProxy

    def setUp(self) -> None:
        self.reactor: Any = reactor
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir(parents=True)

    def kill_at_end(self, phone: Phone) -> Phone:
        """Kill a phone when the test ends, and return it."""
        self.addCleanup(phone.kill)
        return phone

    def events(self, recording: Mapping[str, Any]) -> list[str]:
        """Return the names of the events in a Recording's timeline."""
        return [entry["event"] for entry in recording["timeline"]]

    def event_times(self, recording: Mapping[str, Any]) -> dict[str, float]:
        """Return the time in seconds of the last event of each name in a Recording's timeline."""
        return {entry["event"]: entry["at"] for entry in recording["timeline"]}

    def pauses(self, recording: Mapping[str, Any]) -> list[tuple[float, float]]:
        """Return the begin and the end of each pause in a Recording's timeline, in seconds."""
        times = {
            name: [entry["at"] for entry in recording["timeline"] if entry["event"] == name]
            for name in ("paused", "resumed")
        }
        return list(zip(times["paused"], times["resumed"], strict=True))

    def assert_paused(self, recording: Mapping[str, Any], samples: tones.Samples, rate: int, count: int) -> None:
        """Assert that a Recording has ``count`` pauses, and that nothing was recorded in any of them."""
        pauses = self.pauses(recording)
        self.assertEqual(len(pauses), count, recording["timeline"])
        for paused, resumed in pauses:
            # a file begins a little after the answer, from which the timeline counts
            silence = samples[int((paused + 0.1) * rate) : int((resumed - 0.3) * rate)]
            self.assertGreater(len(silence), 0)
            self.assertEqual(abs(silence).max(), 0.0, f"audio was recorded from {paused} to {resumed}")

    async def sleep(self, seconds: float) -> None:
        await deferLater(self.reactor, seconds)

    async def install_prompt(self, stack: Stack, hz: float, seconds: float) -> str:
        """Store a Prompt that is a tone, wait until Asterisk can play it, and return its id."""
        tone = tones.write_tone(self.directory / "prompt.wav", hz, seconds)
        prompt = await stack.request_json("PUT", "/prompts", {"name": "tone"})
        response = await treq.put(
            f"{stack.url}/prompts/{prompt['id']}/audio",
            data=tone.read_bytes(),
            headers=Headers({"Authorization": [f"Bearer {stack.token}"], "Content-Type": ["audio/wav"]}),
            persistent=False,
        )
        self.assertEqual((response.code, await response.content())[0], 200)

        async def installed() -> bool:
            return any(stack.asterisk.sounds_directory.glob(f"prompt-{prompt['id']}-*.wav"))

        self.assertTrue(await stack.wait_until(installed, 30))
        return str(prompt["id"])

    async def place_sipp_call(self, stack: Stack, target: str, **arguments: Any) -> int:
        """Place one call with SIPp and return its final status code."""
        caller = SippCaller(
            self.reactor,
            self.directory / f"sipp-{os.urandom(3).hex()}",
            rootfs_of(),
            stack.asterisk.sip_address,
            target,
            **{"talk_seconds": 1.0, **arguments},
        )
        self.addCleanup(caller.stop)
        result = await caller.run()
        (call,) = result.calls
        return call.code

    async def wait_until_talking(self, stack: Stack) -> None:
        """Wait until the parties of the only call are connected; Asterisk refuses a REFER that arrives before."""

        async def talking() -> bool:
            return [call["state"] for call in await stack.request_json("GET", "/calls")] == ["talking"]

        self.assertTrue(await stack.wait_until(talking, 30), "the call is not talking")

    async def start_stack_behind_proxy(self) -> tuple[Stack, TcpProxy]:
        """Start a stack of its own whose voxrec connects to AMI through a proxy, and return both."""
        port = free_port(socket.SOCK_STREAM)
        stack = make_stack({"asterisk": {"ami_url": f"tcp://{LOOPBACK}:{port}"}}, self.recipe)
        proxy = self.proxy_type(urlsplit(stack.asterisk.ami_url).port or 0)
        proxy.listen(self.reactor, port)
        self.addCleanup(proxy.stop)
        self.addCleanup(stack.stop)
        await stack.start()
        return stack, proxy

    async def metric(self, stack: Stack, name: str) -> float:
        """Return the value of a metric of voxrec that has one time series, whatever its labels are."""
        metrics = (await stack.request("GET", "/metrics")).body.decode()
        (value,) = re.findall(rf"(?m)^{name}(?:{{.*}})? (\S+)$", metrics)
        return float(value)

    async def assert_asterisk_is_idle(self, stack: Stack) -> None:
        """Assert that Asterisk has no channels, bridges and recording files, within 30 s."""
        asterisk = observe_asterisk(stack, self.reactor)
        left: list[Any] = []

        async def idle() -> bool:
            channels = [each for each in await asterisk.list_channels() if each.name != MESSAGE_CHANNEL]
            bridges = await existing_bridges(asterisk)
            files = sorted(path.name for path in stack.asterisk.recording_directory.glob("[!.]*"))
            left[:] = [channel.name for channel in channels], bridges, files
            return not channels and not bridges and not files

        if not await stack.wait_until(idle, 30):
            self.fail(f"channels, bridges and files left in Asterisk: {left}")


class RecordedCallTestCase(LiveTestCase):
    """Calls on the shared stack between a caller and a callee that each play a tone."""

    async def stack_for_calls(self) -> Stack:
        """Return the running stack on which `start_call` places calls."""
        return await shared_stack(self.recipe)

    async def start_call(self, seconds: float, **profile: Any) -> tuple[Stack, str, Phone, Phone]:
        """Start a call of ``seconds`` to a new Profile and wait for the answer.

        Return the stack, the Profile's id, the caller and the callee.
        """
        stack = await self.stack_for_calls()
        self.addCleanup(self.end_calls, stack)
        defaults = {"record": True, "recordChannels": "dual", "recordBeepAtStart": False}
        created, callee = await demo_call.create_profile_and_callee(
            stack, self.reactor, self.directory, **{**defaults, **profile}
        )
        self.kill_at_end(callee)
        tone = tones.write_tone(self.directory / "caller.tone.wav", demo_call.CALLER_HZ, 1.0)
        uri = f"sip:{created['id']}@{stack.sip_host_port}"
        caller = Phone.make_caller(self.reactor, self.directory, uri, name="caller", play=tone, seconds=seconds)
        self.kill_at_end(caller)
        await caller.start()
        await caller.wait_for("confirmed")
        await callee.wait_for("confirmed")  # its ACK comes from Asterisk; before, it cannot send a re-INVITE
        return stack, created["id"], caller, callee

    async def end_calls(self, stack: Stack) -> None:
        """End the calls that a failed test leaves behind, so that the next test finds Asterisk idle."""
        for call in await stack.request_json("GET", "/calls"):
            await stack.request("DELETE", f"/calls/{call['id']}")

    async def live_recording_path(self, stack: Stack, profile_id: str) -> str:
        """Wait for the row of the Profile's live Recording and return the path of its resource."""
        recordings: list[dict[str, Any]] = []

        async def stored() -> bool:
            recordings[:] = await stack.request_json("GET", f"/profiles/{profile_id}/recordings")
            return bool(recordings)

        self.assertTrue(await stack.wait_until(stored, 30), "no Recording")
        return f"/recordings/{recordings[0]['id']}"

    async def finished_recording(
        self, stack: Stack, profile_id: str, caller: Phone
    ) -> tuple[dict[str, Any], tones.Samples, int]:
        """Wait for the end of the call, and return the completed Recording, its samples and their rate in Hz."""
        await caller.wait_until_ended(60)
        recording = await stack.wait_for_recording(profile_id)
        self.assertEqual(recording["state"], "completed", recording)
        audio = self.directory / "recording.wav"
        audio.write_bytes((await stack.request("GET", f"/recordings/{recording['id']}/audio")).body)
        samples, rate = tones.load_audio(audio)
        await self.assert_asterisk_is_idle(stack)
        return recording, samples, rate

    def assert_tones(self, samples: tones.Samples, rate: int, intervals: Iterable[tuple[float, float]]) -> None:
        """Assert that both sides' tones have no gap in each interval (start and end in seconds)."""
        for start, end in intervals:
            for channel, hz in ((demo_call.LEFT, demo_call.CALLER_HZ), (demo_call.RIGHT, demo_call.CALLEE_HZ)):
                missing = tones.missing_milliseconds(samples[:, channel], rate, hz, start, end)
                self.assertLess(missing, demo_call.TOLERATED_GAP_MS, f"{hz} Hz from {start} to {end}")
