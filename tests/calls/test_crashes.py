"""voxrec is killed at each command of a recording that is paused, renewed, moved and ended; another process continues.

Nothing that is said in a pause may be recorded. Everything else is, from when the other process has the call.
"""

from collections.abc import Callable, Mapping
from typing import Final, Literal, TypeVar

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.calls.test_random import Calls, CallsOnAsterisk16, ProcessTransport
from voxrec.ami.protocol import AmiResponse
from voxrec.calls.live_call import LiveCall
from voxrec.model import PauseBehavior, RecordingState

Fate = Literal["not executed", "executed", "executed later"]
"""What happens to the command at which the process is killed."""
T = TypeVar("T")
_STEPS: Final = (
    "answer",
    "pause",
    "resume",
    "renew",
    "replace the caller",
    "pause",
    "replace the caller",
    "resume",
    "pause",
    "renew",
    "resume",
    "stop",
)
_MAX_COMMANDS: Final = 100


class CrashingTransport(ProcessTransport):
    """The connections of a process that is killed at its command number ``crash_at``; queries are no commands."""

    crash_at = -1
    fate: Fate = "not executed"
    commands = 0

    def request(
        self, method: str, path: tuple[str, ...], query: Mapping[str, str], body: object | None = None
    ) -> Deferred[bytes]:
        """See `voxrec.ari.transport.Transport`."""
        if method == "GET" and not self.cut:
            return super().request(method, path, query, body)
        return self._unless_killed(lambda: super(CrashingTransport, self).request(method, path, query, body))

    def action(self, action: str, fields: Mapping[str, str]) -> Deferred[AmiResponse]:
        """See `voxrec.ami.client.ActionSender`."""
        if self.fate == "executed later" and self.commands + 1 == self.crash_at:
            self.model.execute_later(action, fields)
        return self._unless_killed(lambda: super(CrashingTransport, self).action(action, fields))

    def _unless_killed(self, send: Callable[[], Deferred[T]]) -> Deferred[T]:
        if self.cut:
            return Deferred()
        self.commands += 1
        if self.commands != self.crash_at:
            return send()
        if self.fate == "executed":
            send().addErrback(lambda _: None)
        self.cut = True
        return Deferred()


class CrashingCalls(Calls):
    """Calls of a process that is killed."""

    transport = CrashingTransport


class CrashingCallsOnAsterisk16(CallsOnAsterisk16):
    """The same on Asterisk 16."""

    transport = CrashingTransport


class Scenario:
    """The steps of one call, whose process is killed at one command."""

    def __init__(self, calls: Calls, crash_at: int, fate: Fate) -> None:
        self._calls = calls
        self._model = calls.model
        assert isinstance(calls.process.transport, CrashingTransport)
        self._transport = calls.process.transport
        self._crash_at, self._fate = crash_at, fate
        self.killed = False

    def run(self, late: bool) -> None:
        """Take all steps. After the crash a late command is executed at once, or (``late``) between later steps."""
        calls = self._calls
        calls.inbound_call(exten="100")
        calls.everything_pending_happens()
        self._transport.commands = 0
        self._transport.crash_at, self._transport.fate = self._crash_at, self._fate
        for step in _STEPS:
            self._take(step)
            self._settle()
            if self._transport.cut and not self.killed:
                self._kill()
                if step == "replace the caller" and not len(self._calls.process.live_calls):
                    break  # which channel is the caller's was not stored yet
                if late:
                    self._take("pause")
                    self._settle()
                self._execute_late()
                self._check(may_have_ended=step == "stop")
                if not late:
                    assert len(self._model.monitors) <= 1, self._model.monitors
                if step != "stop":
                    self._take(step)  # the user repeats what had no response
                    self._settle()
                    self._take("resume" if step in ("pause", "resume") else step)
            self._settle()
            self._check(may_have_ended=step == "stop")
        self._transport.crash_at = -1
        calls.teardown()

    def _kill(self) -> None:
        self.killed = True
        self._calls.process_is_killed()
        self._settle()

    def _execute_late(self) -> None:
        while self._model.late_actions:
            self._calls.late_action_is_executed(index=0)
            self._check_pause()
        self._settle()

    def _take(self, step: str) -> None:
        call = self._call()
        match step:
            case "answer":
                for leg in self._model.legs():
                    self._model.pick_up(leg)
            case "stop":
                call.stop_recording("disk-full")
            case "renew" if call.recorder is not None:
                call.recorder.renew_decoders()
            case "replace the caller":
                self._calls.party_is_replaced(index=0, order=[])
            case "pause":
                self._calls._request(self._calls.process.control.pause(call.recording_id, PauseBehavior.SILENCE, None))
            case "resume":
                self._calls._request(self._calls.process.control.resume(call.recording_id))

    def _call(self) -> LiveCall:
        (call,) = self._calls.process.live_calls
        return call

    def _settle(self) -> None:
        for _ in range(8):
            self._calls.everything_pending_happens()
            self._calls.time_passes(seconds=0.5)
            self._check_pause()

    def _check_pause(self) -> None:
        if not self._transport.cut or self.killed:
            self._calls.no_audio_is_recorded_during_a_pause()
        self._calls.no_command_is_wrong()

    def _check(self, *, may_have_ended: bool) -> None:
        """Check that a MixMonitor with files records exactly if the recording is not paused."""
        call = self._call()
        recorder = call.recorder
        assert recorder is not None, "the call is not recorded"
        if may_have_ended and not recorder.is_live:
            return
        assert recorder.is_live, "the recording has ended"
        monitors = [one for one in self._model.monitors.values() if one.channel == call.inbound.channel]
        audible = [one for one in monitors if one.opened and not one.muted]
        assert len(audible) == (recorder.recording.state is RecordingState.RECORDING), monitors


class CrashTests(SynchronousTestCase):
    def test_killed_at_each_command(self) -> None:
        self.kill_at_each_command(CrashingCalls)

    def test_killed_at_each_command_on_asterisk_16(self) -> None:
        self.kill_at_each_command(CrashingCallsOnAsterisk16)

    def kill_at_each_command(self, calls: type[Calls]) -> None:
        fates: tuple[Fate, ...] = ("not executed", "executed", "executed later")
        for fate in fates:
            for late in (False, True):
                count = next(at for at in range(1, _MAX_COMMANDS) if not self.run_scenario(calls, at, fate, late))
                self.assertGreater(count, 20)

    def run_scenario(self, calls: type[Calls], crash_at: int, fate: Fate, late: bool) -> bool:
        """Return whether the process was killed, because it has sent so many commands."""
        scenario = Scenario(calls(), crash_at, fate)
        try:
            scenario.run(late)
        except AssertionError as error:
            raise AssertionError(f"command {crash_at}, {fate}, late={late}: {error}") from error
        return scenario.killed
