"""Tests of voxrec.clock: what happens to timers and to calls when the wall clock is set."""

import re
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.selectreactor import SelectReactor
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.calls.fake_asterisk import INBOUND, SETTINGS, FakeAsterisk, FakeLegFiles, InMemorySink, make_profile
from voxrec.ami.client import AmiClient
from voxrec.ari.client import AriClient
from voxrec.calls.channels.ids import owner_of
from voxrec.calls.live_call import LiveCall
from voxrec.calls.recording.recording_commands import RecordingCommands
from voxrec.calls.signalling.causes import Cause
from voxrec.clock import SteadyClock, use_monotonic_timers, utc_now
from voxrec.model import PauseBehavior, RecordingState, RecordPrompt, Side

HOUR: Final = 3600.0
_SOURCE: Final = Path(__file__).parents[1] / "voxrec"
_MAKE_SERVICE: Final = """
import sys, time
from voxrec.tap import Options, makeService
options = Options()
options.parseOptions(["--config", sys.argv[1]])
makeService(options)
from twisted.internet import reactor
assert reactor.seconds is time.monotonic, reactor.seconds
assert reactor.wall_seconds is time.time
"""


class ClockWithWall(Clock):
    """A Clock whose wall clock can be set."""

    def __init__(self) -> None:
        super().__init__()
        self.wall = 1_700_000_000.0

    def wall_seconds(self) -> float:
        """See `voxrec.clock`."""
        return self.wall + self.seconds()


class ReactorTests(SynchronousTestCase):
    """A reactor of its own, whose two clocks are set by the test."""

    def setUp(self) -> None:
        self.wall, self.monotonic = 1_700_000_000.0, 5000.0
        self.patch(time, "time", lambda: self.wall)
        self.patch(time, "monotonic", lambda: self.monotonic)
        self.reactor: Any = SelectReactor()
        self.addCleanup(self.reactor.disconnectAll)
        self.addCleanup(self.reactor.removeAll)

    def test_timers_do_not_follow_the_wall_clock(self) -> None:
        for step in (HOUR, -HOUR):
            self.reactor = SelectReactor()
            use_monotonic_timers(self.reactor)
            expired: list[None] = []
            self.reactor.callLater(10, expired.append, None)
            self.wall += step
            self.reactor.runUntilCurrent()
            self.assertEqual(expired, [])
            self.monotonic += 10
            self.reactor.runUntilCurrent()
            self.assertEqual(expired, [None])

    def test_moments_follow_the_wall_clock(self) -> None:
        use_monotonic_timers(self.reactor)
        self.assertEqual(utc_now(self.reactor), datetime.fromtimestamp(self.wall, UTC))
        self.wall += HOUR
        self.assertEqual(utc_now(self.reactor), datetime.fromtimestamp(self.wall, UTC))

    def test_reactor_that_has_timers(self) -> None:
        self.reactor.callLater(1, lambda: None)
        self.assertRaises(RuntimeError, use_monotonic_timers, self.reactor)

    def test_daemon_uses_it(self) -> None:
        self.doCleanups()
        settings = Path(self.mktemp())
        settings.write_text("{}")
        command = [sys.executable, "-c", _MAKE_SERVICE, str(settings)]
        completed = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603
        self.assertEqual(completed.returncode, 0, completed.stderr)


class MomentTests(SynchronousTestCase):
    def test_clock_without_a_wall_clock(self) -> None:
        clock = Clock()
        clock.advance(90)
        self.assertEqual(utc_now(clock), datetime(1970, 1, 1, 0, 1, 30, tzinfo=UTC))

    def test_steady_clock(self) -> None:
        clock = ClockWithWall()
        steady = SteadyClock(clock)
        began = utc_now(steady)
        self.assertEqual(began, utc_now(clock))
        for step in (HOUR, -2 * HOUR):
            clock.wall += step
            clock.advance(5)
        self.assertEqual(utc_now(steady) - began, timedelta(seconds=10))
        self.assertEqual(utc_now(SteadyClock(clock)), utc_now(clock))

    def test_no_moment_is_read_from_a_clock_for_intervals(self) -> None:
        wrong = re.compile(r"fromtimestamp\((?!path|event)|timestamp\(\)\s*[-<>]=?\s*[\w.]*\.seconds\(\)")
        found = [
            f"{path.relative_to(_SOURCE)}: {match[0]}"
            for path in sorted(_SOURCE.rglob("*.py"))
            if path != _SOURCE / "clock.py"
            for match in wrong.finditer(path.read_text())
        ]
        self.assertEqual(found, [], "use voxrec.clock.utc_now")


class CallTests(SynchronousTestCase):
    """The wall clock is set during a call, as by NTP after a start with a wrong clock."""

    def setUp(self) -> None:
        self.clock = ClockWithWall()
        self.asterisk = FakeAsterisk()
        self.files = FakeLegFiles()
        self.sink = InMemorySink()

    def talk(self, **fields: Any) -> LiveCall:
        client = AriClient(self.asterisk, "voxrec")
        call = LiveCall(
            self.clock,
            client,
            RecordingCommands(client, AmiClient(self.asterisk), self.files),
            self.sink,
            SETTINGS,
            INBOUND,
            make_profile(**fields),
            on_over=lambda _call: None,
        )

        def snoop_entered(channel: str) -> None:
            owner = owner_of(channel)
            assert owner is not None
            call.snoop_entered(owner[1])

        self.asterisk.on_snoop = snoop_entered
        call.inputs.begin()
        call.inputs.leg_entered()
        call.inputs.leg_answered()
        self.files.create(call)
        return call

    def end(self, call: LiveCall) -> None:
        call.inputs.caller_hung_up(Cause.NORMAL)
        call.inputs.leg_hung_up(Cause.NORMAL)
        self.files.close(call)

    def with_each_step(self, test: Callable[[float], None]) -> None:
        for step in (HOUR, -HOUR, 0.5, -0.5):
            self.setUp()
            test(step)

    def test_timeline_and_duration(self) -> None:
        def test(step: float) -> None:
            call = self.talk()
            self.clock.advance(10)
            call.held(Side.CALLER)
            self.clock.wall += step
            self.clock.advance(20)
            call.unheld(Side.CALLER)
            self.clock.advance(5)
            self.end(call)
            last = self.sink.recordings[-1]
            self.assertEqual(
                [(entry.event, entry.at) for entry in last.timeline],
                [("answered", 0.0), ("held", 10.0), ("unheld", 30.0), ("hangup", 35.0)],
            )
            self.assertEqual(last.call_seconds, 35.0)
            moments = [one.updated_at for one in self.sink.recordings]
            self.assertEqual(moments, sorted(moments), "a later snapshot would be taken for an older one")
            represented = call.representation()
            assert represented.answered_at is not None
            assert represented.ended_at is not None
            self.assertEqual((represented.ended_at - represented.answered_at).total_seconds(), 35.0)
            self.assertEqual(represented.age, 35.0)

        self.with_each_step(test)

    def test_limits(self) -> None:
        def test(step: float) -> None:
            call = self.talk(max_call_seconds=60, record_prompt=RecordPrompt.DEFAULT)
            call.playback_finished("announcement", complete=True)
            self.clock.advance(30)
            self.clock.wall += step
            self.clock.advance(29)
            self.assertEqual(call.status, "talking")
            self.clock.advance(1)
            self.assertEqual(call.status, "clearing")

        self.with_each_step(test)

    def test_timed_pause(self) -> None:
        def test(step: float) -> None:
            call = self.talk()
            self.clock.advance(5)
            self.clock.wall += step
            paused: Deferred[Any] = Deferred.fromCoroutine(call.pause(PauseBehavior.SILENCE, 10))
            self.successResultOf(paused)
            self.clock.wall += step
            self.clock.advance(9)
            assert call.recording is not None
            self.assertEqual(call.recording.state, RecordingState.PAUSED)
            self.clock.advance(1)
            self.assertEqual(call.recording.state, RecordingState.RECORDING)

        self.with_each_step(test)
