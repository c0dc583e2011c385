"""The part of the machine of a recording in which another MixMonitor continues its files.

Asterisk has replaced the caller's channel, with which a MixMonitor ends, or the far end, whose audio the decoder of the
present one may drop. Or another process has begun the recording.
"""

from automat import pep614
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from voxrec.calls.recording.late_commands import verify
from voxrec.calls.recording.monitor_core import MonitorCore
from voxrec.calls.recording.monitor_inputs import MonitorInputs
from voxrec.calls.recording.monitor_states import MonitorStates
from voxrec.calls.recording.start_steps import locate, start


def add_continuation(states: MonitorStates) -> None:
    """Add the transitions between two MixMonitors."""

    def use_channel(inputs: MonitorInputs, core: MonitorCore, channel: str) -> None:
        core.channel = channel

    for state in (
        states.idle,
        states.replaced,
        *states.delayed,
        states.leaving,
        states.moving,
        states.rejoining,
        states.suspended,
    ):
        pep614(state.upon(MonitorInputs.use_channel).loop())(use_channel)

    def leave(inputs: MonitorInputs, core: MonitorCore, channel: str) -> None:
        former, core.channel = core.channel, channel
        core.leave_channel(inputs, former)

    def renew(inputs: MonitorInputs, core: MonitorCore) -> None:
        core.leave_channel(inputs, core.channel)

    def continue_files(inputs: MonitorInputs, core: MonitorCore) -> None:
        core.former, core.appends = core.monitor, True
        core.watch_end(inputs.moved)

    for state in states.started:
        pep614(state.upon(MonitorInputs.use_channel).to(states.leaving))(leave)
        pep614(state.upon(MonitorInputs.renew).to(states.leaving))(renew)
        pep614(state.upon(MonitorInputs.interrupted).to(states.moving))(continue_files)

    @pep614(states.leaving.upon(MonitorInputs.leave_failed).to(states.leave_waiting))
    def wait(inputs: MonitorInputs, core: MonitorCore, failure: Failure) -> None:
        core.started()
        core.retry_later(inputs)
        core.fail_change(failure.value)

    @pep614(states.leave_waiting.upon(MonitorInputs.retry).to(states.leaving))
    def stop_again(inputs: MonitorInputs, core: MonitorCore) -> None:
        core.cancel_timers()
        Deferred.fromCoroutine(core.stop_former(inputs))

    # the former MixMonitor ends with its channel
    @pep614(states.leave_waiting.upon(MonitorInputs.use_channel).to(states.leaving))
    def leave_ended(inputs: MonitorInputs, core: MonitorCore, channel: str) -> None:
        core.channel = channel
        stop_again(inputs, core)

    @pep614(states.leaving.upon(MonitorInputs.not_left).to(states.opening))
    def continue_former(inputs: MonitorInputs, core: MonitorCore, failure: Failure) -> None:
        core.former = ""
        core.watch_creation(inputs)
        core.check_later(inputs)
        Deferred.fromCoroutine(core.carry_out_change(inputs, failure.value))

    @pep614(states.leaving.upon(MonitorInputs.left).to(states.moving))
    def watch_former(inputs: MonitorInputs, core: MonitorCore, gap: float) -> None:
        core.gap_timer.start(gap, lambda: core.watch_end(inputs.moved))

    for state in (states.moving, states.rejoining):
        pep614(state.upon(MonitorInputs.moved).to(states.starting))(start)


def add_replacement(states: MonitorStates) -> None:
    """Add the transitions for a channel that is replaced while a MixMonitor is being started on it."""

    def replace(inputs: MonitorInputs, core: MonitorCore, channel: str) -> None:
        core.former_channel, core.channel = core.channel, channel

    for state in (states.starting, states.locating):
        pep614(state.upon(MonitorInputs.use_channel).to(states.replaced))(replace)

    @pep614(states.replaced.upon(MonitorInputs.begun).to(states.leaving))
    def leave_begun(inputs: MonitorInputs, core: MonitorCore, monitor: str) -> None:
        core.use_monitor(monitor)
        core.leave_channel(inputs, core.former_channel)

    def locate_on_present(inputs: MonitorInputs, core: MonitorCore, failure: Failure) -> None:
        locate(inputs, core)

    # what was started nevertheless ends with the former channel
    for outcome in (MonitorInputs.unsent, MonitorInputs.unavailable, MonitorInputs.refused):
        pep614(states.replaced.upon(outcome).to(states.locating))(locate_on_present)


def add_takeover(states: MonitorStates) -> None:
    """Add the transitions of recordings that are taken over from another process."""

    @pep614(states.idle.upon(MonitorInputs.found).to(states.recording))
    def found(inputs: MonitorInputs, core: MonitorCore, monitor: str, muted: bool) -> None:
        core.monitor, core.muted = monitor, muted
        Deferred.fromCoroutine(verify(inputs, core))

    def continue_files(inputs: MonitorInputs, core: MonitorCore) -> None:
        core.appends = True
        core.watch_end(inputs.moved)

    @pep614(states.idle.upon(MonitorInputs.found_suspended).to(states.moving))
    def found_suspended(inputs: MonitorInputs, core: MonitorCore) -> None:
        core.muted = True
        continue_files(inputs, core)

    pep614(states.idle.upon(MonitorInputs.found_files).to(states.rejoining))(continue_files)
