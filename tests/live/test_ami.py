"""AMI: the shipped manager.conf and voxrec.ami against a real Asterisk 16 and 22."""

import json
import os
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar
from urllib.parse import urlsplit

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from tests.live.live_test_case import PROFILE_SECONDS, SHARED_SETTINGS, LiveTestCase, make_stack, rootfs_of
from voxrec.ami.client import AmiClient, Direction
from voxrec.ami.connection import AmiConnection, endpoint_for
from voxrec.ami.protocol import AmiResponseError
from voxrec.deferreds import Backoff
from voxrec.errors import AsteriskUnavailable, CommandNotSent
from voxrec.sandbox.asterisk import LOOPBACK, SandboxAsterisk
from voxrec.sandbox.chaos.inspection import read_metrics
from voxrec.sandbox.rootfs import ASTERISK_16, ASTERISK_22, Recipe
from voxrec.sandbox.sipp import SippAnswerer
from voxrec.sandbox.tcp_proxy import TcpProxy

_ALLOWED_ACTIONS = ("MixMonitor", "StopMixMonitor", "MixMonitorMute", "ModuleCheck", "Ping")


class Changes:
    """An `AmiListener` that counts."""

    opened = closed = 0

    def has_opened(self, times: int) -> bool:
        return self.opened == times

    def ami_connected(self) -> None:
        self.opened += 1

    def ami_disconnected(self) -> None:
        self.closed += 1


class AmiTests(TestCase):
    """A started Asterisk, and a connection to it."""

    timeout = 60
    recipe: ClassVar[Recipe] = ASTERISK_22
    asterisk: SandboxAsterisk
    reactor: Any = reactor

    async def setUp(self) -> None:  # type: ignore[override]
        self.asterisk = make_stack(recipe=self.recipe).asterisk
        self.addCleanup(lambda: Deferred.fromCoroutine(self.asterisk.stop(self.reactor)))
        await self.asterisk.start(self.reactor)

    def connect(
        self, password: str | None = None, user: str = "voxrec", url: str = "", request_timeout: float = 5
    ) -> AmiConnection:
        connection = AmiConnection(
            self.reactor,
            endpoint_for(self.reactor, url or self.asterisk.ami_url, 5),
            user=user,
            password=self.asterisk.ami_password if password is None else password,
            request_timeout=request_timeout,
            ping_interval=1,
            ping_timeout=1,
            backoff=Backoff(first=0.1, limit=0.5),
        )
        connection.startService()
        self.addCleanup(connection.stopService)
        return connection

    async def ready(self, connection: AmiConnection) -> AmiClient:
        await self.wait_until(lambda: connection.ready, "the connection is ready")
        return AmiClient(connection)

    async def wait_until(self, condition: Callable[[], object], what: str, seconds: float = 15) -> None:
        deadline = self.reactor.seconds() + seconds
        while not condition():
            if self.reactor.seconds() > deadline:
                self.fail(f"not within {seconds} s: {what}")
            await deferLater(self.reactor, 0.05)

    async def console(self, command: str) -> str:
        return await self.asterisk.run_console_command(self.reactor, command)

    async def start_channel(self) -> str:
        """Start a channel with audio, and return its unique id."""
        former = await self.channels()
        await self.console("dialplan add extension s,1,Answer, into ami-test")
        await self.console("dialplan add extension s,2,Playback,demo-congrats into ami-test")
        await self.console("channel originate Local/s@ami-test/n application Milliwatt")
        (channel,) = await self.channels() - former
        return channel

    async def channels(self) -> set[str]:
        """Return the unique ids of the channels that `start_channel` returns."""
        lines = (await self.console("core show channels concise")).splitlines()
        return {line.split("!")[-1] for line in lines if ";2!" in line}

    async def test_a_mix_monitor_is_started_muted_and_stopped(self) -> None:
        client = await self.ready(self.connect())
        channel = await self.start_channel()
        files = [self.asterisk.recording_directory / f"a b-{side}.wav" for side in ("in", "out")]
        inside = [self.asterisk.path_inside(path) for path in files]
        mix_monitor = await client.mix_monitor(
            channel, received=inside[0], transmitted=inside[1], id_variable="RECORDING_ID"
        )
        self.assertRegex(mix_monitor, "^0x[0-9a-f]+$")
        await self.wait_until(lambda: all(path.exists() for path in files), "both files exist")
        for muted in (True, True, False, True):  # it sets a state
            self.assertTrue(await client.mute_mix_monitor(channel, mix_monitor, Direction.BOTH, muted=muted))
        self.assertTrue(await client.stop_mix_monitor(channel, mix_monitor))
        sizes = [path.stat().st_size for path in files]  # the files are closed
        self.assertEqual(sizes[0], sizes[1])
        self.assertFalse(await client.stop_mix_monitor(channel, mix_monitor))
        self.assertFalse(await client.stop_mix_monitor("no-channel", mix_monitor))
        with self.assertRaisesRegex(AmiResponseError, "No such channel"):
            await client.mute_mix_monitor("no-channel", mix_monitor, Direction.BOTH, muted=True)
        with self.assertRaisesRegex(AmiResponseError, "No such channel"):
            await client.mix_monitor("no-channel", received="a.wav", transmitted="b.wav", id_variable="X")

    async def test_a_blocked_channel_blocks_all_sessions_and_makes_one_command_doubtful(self) -> None:
        connection = self.connect(request_timeout=2)
        client = await self.ready(connection)
        blocked, other = await self.start_channel(), await self.start_channel()
        fifo = self.asterisk.recording_directory / "blocked-in.wav"
        os.mkfifo(fifo)
        fifo.chmod(0o666)
        paths = [self.asterisk.path_inside(fifo.with_name(name)) for name in (fifo.name, "out.wav", "in2.wav")]
        mix_monitor = await client.mix_monitor(blocked, received=paths[0], transmitted=paths[1], id_variable="X")
        stopping = client.stop_mix_monitor(blocked, mix_monitor)  # it waits for the thread, which waits for a reader
        following = client.mix_monitor(other, received=paths[2], transmitted=paths[1], id_variable="X")
        with self.assertRaises(AsteriskUnavailable) as doubtful:
            await stopping
        self.assertNotIsInstance(doubtful.exception, CommandNotSent)
        with self.assertRaises(CommandNotSent):
            await following

        def is_searching(session: AmiConnection) -> bool:
            return "no response from Asterisk to StopMixMonitor" in str(session.problem)

        for session in (connection, self.connect(request_timeout=2)):
            await self.wait_until(partial(is_searching, session), "no channel can be found")
        self.addCleanup(os.close, os.open(fifo, os.O_RDONLY | os.O_NONBLOCK))
        await self.ready(connection)
        self.assertTrue(await client.mix_monitor(other, received=paths[2], transmitted=paths[1], id_variable="X"))

    async def test_the_shipped_configuration_grants_what_is_needed_and_no_more(self) -> None:
        connection = self.connect()
        await self.ready(connection)
        commands = (await connection.action("ListCommands", {})).fields
        self.assertLessEqual(set(_ALLOWED_ACTIONS), set(commands))
        for action in ("Command", "Originate", "UpdateConfig", "Setvar", "Redirect", "AGI", "MessageSend"):
            self.assertNotIn(action, commands)
            with self.assertRaisesRegex(AmiResponseError, "Permission denied"):
                await connection.action(action, {})
        shown = await self.console("manager show user voxrec")
        self.assertRegex(shown, r"write perm: +system\n")
        self.assertRegex(shown, r"read perm: +<none>\n")
        self.assertIn("127.0.0.1", await self.console("manager show settings"))

    async def test_no_event_is_sent(self) -> None:
        connection = self.connect()
        await self.ready(connection)
        assert connection._protocol is not None
        received: list[bytes] = []
        self.patch(connection._protocol, "dataReceived", received.append)
        self.patch(connection, "_ping_timeout", 60)
        await self.start_channel()
        await self.console("channel request hangup all")
        await deferLater(self.reactor, 0.2)
        self.assertNotIn(b"Event:", b"".join(received))

    async def test_a_wrong_password_and_an_unknown_user(self) -> None:
        for connection in (self.connect(password="wrong"), self.connect(user="other")):
            refused = lambda connection=connection: "refuses the login" in str(connection.problem)  # noqa: E731
            await self.wait_until(refused, "the login is refused")
            await connection.stopService()  # type: ignore[misc]

    async def test_a_module_that_is_not_loaded(self) -> None:
        await self.console("module unload app_mixmonitor.so")
        connection = self.connect()
        await self.wait_until(lambda: "app_mixmonitor.so is not loaded" in str(connection.problem), "the reason")
        await self.console("module load app_mixmonitor.so")
        await self.ready(connection)

    async def test_a_closed_connection_is_opened_again(self) -> None:
        proxy = TcpProxy(urlsplit(self.asterisk.ami_url).port or 0)
        proxy.listen(self.reactor)
        self.addCleanup(lambda: Deferred.fromCoroutine(proxy.stop()))
        connection = self.connect(url=f"tcp://{LOOPBACK}:{proxy.listening_port}")
        changes = Changes()
        connection.set_listener(changes)
        await self.ready(connection)
        for opened in (2, 3):
            proxy.drop_connections()
            await self.wait_until(partial(changes.has_opened, opened), "the connection is ready again")
            self.assertEqual(changes.closed, opened - 1)

    async def test_a_restart_of_asterisk(self) -> None:
        connection = self.connect()
        client = await self.ready(connection)
        self.asterisk.kill()
        await self.wait_until(lambda: not connection.ready, "the connection is closed")
        with self.assertRaises(AsteriskUnavailable):
            await client.stop_mix_monitor("c", "1")
        await self.asterisk.restart(self.reactor)
        await self.ready(connection)

    async def test_an_asterisk_that_hangs(self) -> None:
        connection = self.connect()
        await self.ready(connection)
        os.kill(self.asterisk.pid, 19)
        try:
            await self.wait_until(lambda: "no response to Ping" in str(connection.problem), "the ping times out")
        finally:
            os.kill(self.asterisk.pid, 18)
        await self.ready(connection)


class Asterisk16AmiTests(AmiTests):
    """The same with Asterisk 16."""

    recipe = ASTERISK_16


class DaemonTests(LiveTestCase):
    """The daemon while ARI is connected and AMI is not."""

    async def test_calls_are_connected_and_the_readiness_names_ami(self) -> None:
        stack = make_stack({**SHARED_SETTINGS, "asterisk": {"ami_password": "wrong"}})
        self.addCleanup(lambda: Deferred.fromCoroutine(stack.stop()))
        await stack.start_dependencies()
        stack.launch_voxrec()
        dependencies: dict[str, Any] = {}

        async def only_ami_is_missing() -> bool:
            if await stack.readiness_status() == 503:
                dependencies.update(json.loads((await stack.request("GET", "/health/ready")).body)["dependencies"])
            missing = [name for name, each in dependencies.items() if not each["ready"]]
            return missing == ["ami"] and "not connected yet" not in dependencies["ami"]["detail"]

        self.assertTrue(await stack.wait_until(only_ami_is_missing, 60), dependencies)
        reason = "Asterisk refuses the login of the AMI user voxrec: Authentication failed"
        self.assertEqual(dependencies["ami"]["detail"], f"calls cannot be recorded: {reason}")
        self.assertEqual(stack.count_log_lines(reason), 1)
        metrics = (await stack.request("GET", "/metrics")).body.decode()
        self.assertRegex(metrics, r"voxrec_ami_connected\{[^}]*\} 0\.0\n")
        self.assertRegex(metrics, r"voxrec_asterisk_connected\{[^}]*\} 1\.0\n")

        callee = SippAnswerer(self.reactor, self.directory / "desk", rootfs_of())
        self.addCleanup(callee.stop)
        await callee.start()
        profile = await stack.request_json("PUT", "/profiles", {"remoteSipUri": callee.uri, "record": False})
        await self.sleep(PROFILE_SECONDS)
        self.assertEqual(await self.place_sipp_call(stack, profile["id"]), 200)

    async def test_after_a_long_outage_of_asterisk_ami_is_back_with_ari(self) -> None:
        """Each has a back-off of its own. Calls that come before AMI is back would not be recorded at first."""
        stack = make_stack(recipe=self.recipe)
        self.addCleanup(stack.stop)
        await stack.start()
        connections = stack.count_log_lines("connected to Asterisk")
        stack.asterisk.kill()
        await self.sleep(8)  # the delays are several seconds now
        await stack.asterisk.start(self.reactor)

        async def connected() -> bool:
            return stack.count_log_lines("connected to Asterisk") > connections

        async def ami_connected() -> bool:
            return (await read_metrics(stack))["voxrec_ami_connected"] == 1

        self.assertTrue(await stack.wait_until(connected, 20), stack.voxrec_log_tail())
        self.assertTrue(await stack.wait_until(ami_connected, 3.0), stack.voxrec_log_tail())
