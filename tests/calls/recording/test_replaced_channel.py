"""A recording continues, whatever its state is when Asterisk replaces the caller's channel, or new decoders are needed.

The machine of the recording runs with a model of Asterisk; the call that it belongs to is left out.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final
from uuid import UUID

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.calls.fake_asterisk import NOW
from tests.calls.model import ModelAsterisk, ModelChannel, ModelMonitor, Outcome
from tests.calls.test_random import FilesOfModel, ProcessTransport
from voxrec.ami.client import AmiClient
from voxrec.ami.protocol import AmiResponse
from voxrec.ari.client import AriClient
from voxrec.calls.recording.monitor import monitor_machine
from voxrec.calls.recording.monitor_core import MonitorCore
from voxrec.calls.recording.recording_commands import RecordingCommands
from voxrec.model import Recording, RecordingState

_RECORDING: Final = UUID(int=1)
_BRIDGE: Final = "bridge"
_MAX_GAP: Final = 0.2  # seconds without a MixMonitor, by the clock of the test, unless a command fails


class DelayedTransport(ProcessTransport):
    """The connections to the model. The next action is sent when ``held`` fires, if that is not None."""

    held: Deferred[None] | None = None

    def action(self, action: str, fields: Mapping[str, str]) -> Deferred[AmiResponse]:
        """See `voxrec.ami.client.ActionSender`."""
        return Deferred.fromCoroutine(self._send(action, fields))

    async def _send(self, action: str, fields: Mapping[str, str]) -> AmiResponse:
        held, self.held = self.held, None
        if held is not None:
            await held
        return await super().action(action, fields)


class RecordedChannel:
    """The machine of one recording, and the channel of its caller in the model."""

    def __init__(self, version: int) -> None:
        self.clock = Clock()
        self.model = ModelAsterisk(version)
        self.model.connected = True
        self.transport = DelayedTransport(self.model, lambda _: None)
        self.reported: list[str] = []
        self.caller = self.model.call("100")
        for request in (("bridges", _BRIDGE), ("bridges", _BRIDGE, "addChannel")):
            self.model.request("POST", request, {"channel": self.caller.id})
        client = AriClient(self.transport, "voxrec")
        self.core = MonitorCore(
            self.clock,
            RecordingCommands(
                client,
                AmiClient(self.transport),
                FilesOfModel(self.model),
                lambda: self.transport.session_directory,
            ),
            Recording(
                id=_RECORDING,
                profile_id=UUID(int=2),
                call_id=UUID(int=3),
                state=RecordingState.RECORDING,
                created_at=NOW,
                updated_at=NOW,
            ),
            self.caller.id,
            "wav",
            note=lambda side, detail: self.reported.append(f"failed {side or 'call'}: {detail}"),
            started=lambda: self.reported.append("started"),
            late=lambda: self.reported.append("late"),
            over=lambda: self.reported.append("over"),
            suspended=lambda _: self.reported.append("suspended"),
        )
        self.monitor = monitor_machine(self.core)

    @property
    def state(self) -> str:
        """The name of the machine's state."""
        machine: Any = self.monitor
        return str(machine.__automat_transitioner__._state.name)  # which Automat does not export

    @property
    def audible(self) -> list[ModelMonitor]:
        """The MixMonitors that record audio."""
        return [one for one in self.model.monitors.values() if one.opened and not one.muted]

    def change(self, *, muted: bool) -> Deferred[None]:
        """Pause or resume."""
        changed: Deferred[None] = Deferred()
        (self.monitor.mute if muted else self.monitor.unmute)(changed)
        return changed

    def replace_caller(self, *, hang_up: bool = True) -> ModelChannel:
        """Let Asterisk replace the caller's channel. With ``hang_up`` the former one ends before anything else."""
        self.model.replace(self.caller)
        (self.caller,) = self.model.callers()
        if hang_up:
            self.model.tasks.pop()()
        self.monitor.use_channel(self.caller.id)
        return self.caller

    def let_tasks_run(self) -> None:
        """Let Asterisk do what it has to do."""
        while self.model.tasks:
            self.model.tasks.pop(0)()

    def respond(self) -> None:
        """Let all responses arrive that are late."""
        self.model.outcomes.clear()
        self.model.action_outcomes.clear()
        while self.model.late_responses:
            self.model.late_responses.pop(0)()

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and Asterisk do what it has to do."""
        for _ in range(round(seconds / 0.01)):
            self.let_tasks_run()
            self.clock.advance(0.01)
        self.let_tasks_run()

    def reconnect(self) -> None:
        """Connect AMI again."""
        self.transport.connect_ami()
        self.monitor.retry()

    # How each state is reached.

    def reach(self, state: str) -> None:
        """Bring the machine into a state."""
        getattr(self, f"_reach_{state}")()
        assert self.state == state, f"{self.state}, not {state}"

    def _reach_idle(self) -> None:
        pass

    def _reach_starting(self) -> None:
        self.model.action_outcomes.append("late")
        self.monitor.begin()

    def _reach_replaced(self) -> None:
        self._reach_starting()
        self.replace_caller(hang_up=False)

    def _reach_waiting(self) -> None:
        self.model.action_outcomes.append("unsent")
        self.monitor.begin()

    def _reach_uncertain(self) -> None:
        self.model.action_outcomes.append("lost after")
        self.monitor.begin()

    def _reach_locating(self) -> None:
        self.model.action_outcomes.append("lost before")
        self.monitor.begin()
        self.model.action_outcomes.append("late")
        self.reconnect()

    def _reach_opening(self) -> None:
        self.monitor.begin()

    def _reach_recording(self) -> None:
        self.monitor.begin()
        self.pass_time(0.1)

    def _reach_leaving(self) -> None:
        self._reach_recording()
        self.model.action_outcomes.append("late")
        self.monitor.renew()

    def _reach_leave_waiting(self) -> None:
        self._reach_recording()
        self.model.action_outcomes.append("lost before")
        self.monitor.renew()

    def _reach_moving(self) -> None:
        self._reach_recording()
        self.monitor.renew()

    def _reach_rejoining(self) -> None:
        """Take over the call from a process whose MixMonitor is being closed."""
        self.core.commands.start(self.caller.id, _RECORDING, "wav", append=False)
        self.let_tasks_run()
        (monitor,) = self.model.monitors
        self.core.commands.stop(self.caller.id, monitor)
        self.monitor.found_files()

    def _reach_suspended(self) -> None:
        self._reach_recording()
        self.change(muted=True)
        self.monitor.renew()
        self.pass_time(0.1)


_STATES: Final = (
    "idle",
    "starting",
    "replaced",
    "waiting",
    "uncertain",
    "locating",
    "opening",
    "recording",
    "leaving",
    "leave_waiting",
    "moving",
    "rejoining",
    "suspended",
)
_NEED_AMI: Final = ("waiting", "uncertain", "leave_waiting")
_STARTED: Final = ("opening", "recording")


class ReplacedChannelTests(SynchronousTestCase):
    version = 22

    def run_in_each_state(self, change: Callable[[RecordedChannel], object], *states: str) -> None:
        """Change something in each state, with responses before and after the end of what the change ends."""
        for state in states or _STATES:
            for respond_first in (True, False):
                channel = RecordedChannel(self.version)
                channel.reach(state)
                try:
                    change(channel)
                    self._settle(channel, state, respond_first=respond_first)
                    self._assert_recorded(channel)
                    self._assert_pauses(channel)
                    self._assert_end(channel)
                except AssertionError as error:
                    message = f"{state}, respond_first={respond_first}: {error}; {channel.reported}"
                    raise AssertionError(message) from error

    def _settle(self, channel: RecordedChannel, state: str, *, respond_first: bool) -> None:
        if state == "idle":
            channel.monitor.begin()
        if respond_first:
            channel.respond()
            channel.let_tasks_run()
        else:
            channel.let_tasks_run()
            channel.respond()
        if state in _NEED_AMI:
            channel.reconnect()
        channel.pass_time(_MAX_GAP)

    def _assert_recorded(self, channel: RecordedChannel) -> None:
        """Assert that exactly one MixMonitor records, on the caller's channel, unless the recording is paused."""
        self.assertEqual(channel.state, "suspended" if channel.core.muted else "recording")
        self.assertEqual([one.channel for one in channel.audible], [] if channel.core.muted else [channel.caller.id])
        self.assertLessEqual(len(channel.model.monitors), 1)
        self.assertIn("started", channel.reported)
        self.assertEqual(channel.model.violations, [])

    def _assert_pauses(self, channel: RecordedChannel) -> None:
        """Assert that the recording can be paused and resumed."""
        for muted in (True, False):
            changed = channel.change(muted=muted)
            channel.pass_time(_MAX_GAP)
            self.successResultOf(changed)
            self.assertEqual(len(channel.audible), 0 if muted else 1)

    def _assert_end(self, channel: RecordedChannel) -> None:
        channel.monitor.call_ended()
        channel.model.hang_up(channel.caller, 16)
        channel.pass_time(2)
        self.assertEqual((channel.reported[-1], channel.state), ("over", "closed"))
        self.assertEqual(channel.clock.getDelayedCalls(), [])
        self.assertEqual(channel.model.violations, [])

    def test_channel_that_is_replaced_in_each_state(self) -> None:
        for hang_up in (False, True):
            self.run_in_each_state(lambda channel, now=hang_up: channel.replace_caller(hang_up=now))  # type: ignore[misc]

    def test_channel_that_is_replaced_twice_in_each_state(self) -> None:
        def replace_twice(channel: RecordedChannel) -> None:
            channel.replace_caller()
            channel.replace_caller(hang_up=False)

        self.run_in_each_state(replace_twice)

    def test_new_decoders_in_each_state(self) -> None:
        self.run_in_each_state(lambda channel: channel.monitor.renew())

    def test_new_decoders_for_a_channel_that_is_replaced(self) -> None:
        def renew(channel: RecordedChannel) -> None:
            channel.monitor.renew()
            channel.replace_caller()
            channel.monitor.renew()

        self.run_in_each_state(renew)

    def test_mix_monitor_that_another_program_has_stopped(self) -> None:
        def stop(channel: RecordedChannel) -> None:
            channel.core.commands.stop(channel.caller.id, channel.core.monitor)
            channel.monitor.retry()

        self.run_in_each_state(stop, *_STARTED)

    def test_pause_that_is_requested_before_the_channel_is_replaced(self) -> None:
        self.pause_and_replace(replace_first=False)

    def test_pause_that_is_requested_after_the_channel_was_replaced(self) -> None:
        self.pause_and_replace(replace_first=True)

    def pause_and_replace(self, *, replace_first: bool) -> None:
        """Assert that nothing is recorded from when a pause is confirmed, in whatever state it was requested."""
        for state in _STATES:
            for respond_first in (True, False):
                channel = RecordedChannel(self.version)
                channel.reach(state)
                if replace_first:
                    channel.replace_caller()
                paused = channel.change(muted=True)
                outcomes: list[object] = []
                paused.addBoth(outcomes.append)
                if not replace_first:
                    channel.replace_caller()
                self._settle(channel, state, respond_first=respond_first)
                self.assertEqual(len(outcomes), 1, state)
                is_paused = outcomes == [None]
                self.assertEqual(channel.core.muted, is_paused, state)
                self.assertEqual(len(channel.audible), 0 if is_paused else 1, f"{state}: {outcomes}")
                self.assertIn(state, ("uncertain", "leave_waiting", "rejoining") if not is_paused else _STATES)
                if is_paused:
                    resumed = channel.change(muted=False)
                    channel.pass_time(_MAX_GAP)
                    self.successResultOf(resumed)
                self._assert_recorded(channel)
                self._assert_end(channel)

    def test_start_that_fails_after_the_channel_was_replaced(self) -> None:
        """What has happened on the former channel does not matter: the recording starts on the present one at once."""
        outcomes: tuple[Outcome, ...] = ("lost before", "lost after", "executed later", "unsent", "refused")
        for outcome in outcomes:
            channel = RecordedChannel(self.version)
            held = channel.transport.held = Deferred()
            channel.monitor.begin()
            channel.replace_caller()
            self.assertEqual(channel.state, "replaced")
            channel.model.action_outcomes.append(outcome)
            held.callback(None)
            if outcome in ("lost before", "lost after", "executed later"):
                channel.reconnect()
            channel.pass_time(_MAX_GAP)
            self._assert_recorded(channel)
            self._assert_pauses(channel)
            self._assert_end(channel)

    def test_stop_after_the_channel_was_replaced_ends_what_was_started_on_the_former_one(self) -> None:
        channel = RecordedChannel(self.version)
        channel.reach("replaced")
        channel.monitor.stop()
        channel.respond()
        self.assertEqual(channel.model.monitors, {})
        channel.pass_time(1)
        self.assertEqual((channel.reported[-1], channel.state), ("over", "closed"))

    def test_late_offer_of_a_channel_that_is_replaced(self) -> None:
        """The format is that of the present channel; the former one never gets an ACK."""
        channel = RecordedChannel(self.version)
        channel.core.late_offer = True
        channel.monitor.begin()
        channel.pass_time(0.1)
        replacing = channel.replace_caller()
        replacing.variables["CHANNEL(audionativeformat)"] = "(alaw)"
        channel.pass_time(_MAX_GAP)
        self._assert_recorded(channel)


class ReplacedChannelOnAsterisk16Tests(ReplacedChannelTests):
    """The same on Asterisk 16."""

    version = 16


class ReportedStartTests(SynchronousTestCase):
    """The call waits until the recording has started, or cannot start now."""

    def test_mix_monitor_that_cannot_be_stopped_before_its_files_are_open(self) -> None:
        channel = RecordedChannel(22)
        channel.reach("opening")
        channel.model.action_outcomes.append("unsent")
        channel.monitor.renew()
        channel.pass_time(0.1)
        self.assertEqual((channel.reported, channel.state), (["started"], "recording"))

    def test_mix_monitor_of_which_it_is_not_known_whether_it_was_stopped(self) -> None:
        outcomes: tuple[Outcome, ...] = ("lost before", "lost after")
        for outcome in outcomes:
            channel = RecordedChannel(22)
            channel.reach("opening")
            channel.model.action_outcomes.append(outcome)
            channel.monitor.renew()
            self.assertEqual((channel.reported, channel.state), (["started"], "leave_waiting"))


class LateStartTests(SynchronousTestCase):
    """Asterisk executes a command to start late, during a pause: that MixMonitor has no files."""

    def suspend(self) -> RecordedChannel:
        channel = RecordedChannel(22)
        channel.model.action_outcomes.append("executed later")
        channel.monitor.begin()
        channel.reconnect()
        channel.pass_time(0.1)
        paused = channel.change(muted=True)
        channel.pass_time(0.1)
        self.successResultOf(paused)
        self.assertEqual((channel.state, channel.model.monitors), ("suspended", {}))
        return channel

    def start_late(self, channel: RecordedChannel) -> None:
        channel.model.late_actions.pop()()
        self.assertEqual(len(channel.model.monitors), 1)

    def test_it_is_stopped_during_the_pause(self) -> None:
        channel = self.suspend()
        channel.pass_time(5)
        self.start_late(channel)
        channel.pass_time(1)
        self.assertEqual(channel.model.monitors, {})
        channel.pass_time(60)
        self.assertEqual(channel.clock.getDelayedCalls(), [])

    def test_it_is_stopped_before_the_recording_is_resumed(self) -> None:
        channel = self.suspend()
        self.start_late(channel)
        self.successResultOf(channel.change(muted=False))
        channel.pass_time(0.1)
        self.assertEqual((len(channel.model.monitors), len(channel.audible)), (1, 1))

    def test_a_resumption_does_not_wait_for_ari(self) -> None:
        channel = self.suspend()
        channel.model.outcomes.append("lost before")
        self.successResultOf(channel.change(muted=False))
        channel.pass_time(0.1)
        self.assertEqual(len(channel.audible), 1)

    def test_a_call_that_ends_during_the_pause(self) -> None:
        channel = self.suspend()
        channel.monitor.call_ended()
        channel.pass_time(1)
        self.assertEqual((channel.reported[-1], channel.clock.getDelayedCalls()), ("over", []))
