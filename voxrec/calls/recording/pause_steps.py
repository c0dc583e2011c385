"""The part of the machine of a recording that pauses and resumes it."""

from automat import pep614
from twisted.internet.defer import Deferred

from voxrec.calls.recording.late_commands import watch_strays
from voxrec.calls.recording.monitor_core import MonitorCore
from voxrec.calls.recording.monitor_inputs import MonitorInputs
from voxrec.calls.recording.monitor_states import MonitorStates
from voxrec.calls.recording.start_steps import start


def mute(inputs: MonitorInputs, core: MonitorCore, changed: Deferred[None]) -> None:
    """Record silence from now on.

    If a command that is executed later could undo it, the MixMonitor is stopped instead.
    """
    if core.doubts.exist:
        core.request_change(changed, muted=True)
        inputs.renew()
    else:
        core.change_now(inputs, changed, muted=True)


def unmute(inputs: MonitorInputs, core: MonitorCore, changed: Deferred[None]) -> None:
    """Record audio again."""
    core.change_now(inputs, changed, muted=False)


def mute_later(inputs: MonitorInputs, core: MonitorCore, changed: Deferred[None]) -> None:
    """Pause when the outcome of the present command is known."""
    core.request_change(changed, muted=True)


def unmute_later(inputs: MonitorInputs, core: MonitorCore, changed: Deferred[None]) -> None:
    """Resume when the outcome of the present command is known."""
    core.request_change(changed, muted=False)


def cannot_change(inputs: MonitorInputs, core: MonitorCore, changed: Deferred[None]) -> None:
    """Refuse to pause or to resume."""
    changed.errback(core.not_recorded())


def do_nothing(inputs: MonitorInputs, core: MonitorCore, changed: Deferred[None]) -> None:
    """Do nothing."""
    changed.callback(None)


def add_pauses(states: MonitorStates) -> None:
    """Add the transitions for pauses and resumptions, unless the recording is suspended."""

    def begin_paused(inputs: MonitorInputs, core: MonitorCore, changed: Deferred[None]) -> None:
        core.muted = True
        changed.callback(None)

    def begin_audible(inputs: MonitorInputs, core: MonitorCore, changed: Deferred[None]) -> None:
        core.muted = False
        changed.callback(None)

    for state in states.started:
        pep614(state.upon(MonitorInputs.mute).loop())(mute)
        pep614(state.upon(MonitorInputs.unmute).loop())(unmute)
    for state in (*states.commanded, states.leaving, states.moving):
        pep614(state.upon(MonitorInputs.mute).loop())(mute_later)
        pep614(state.upon(MonitorInputs.unmute).loop())(unmute_later)
    for state in (states.uncertain, states.leave_waiting, states.rejoining, *states.finishing):
        pep614(state.upon(MonitorInputs.mute).loop())(cannot_change)
        pep614(state.upon(MonitorInputs.unmute).loop())(cannot_change)
    pep614(states.idle.upon(MonitorInputs.mute).loop())(begin_paused)
    pep614(states.idle.upon(MonitorInputs.unmute).loop())(begin_audible)
    pep614(states.closed.upon(MonitorInputs.mute).loop())(do_nothing)
    pep614(states.closed.upon(MonitorInputs.unmute).loop())(do_nothing)


def add_suspension(states: MonitorStates) -> None:
    """Add the transitions of a recording that has no MixMonitor during its pause."""

    @pep614(states.starting.upon(MonitorInputs.suspend).to(states.suspended))
    @pep614(states.waiting.upon(MonitorInputs.suspend).to(states.suspended))
    def suspend(inputs: MonitorInputs, core: MonitorCore) -> None:
        core.cancel_timers()
        core.started()
        if core.appends or not core.is_late:  # else the files begin when the recording starts
            core.suspended(core.recorded)
        watch_strays(core)

    pep614(states.suspended.upon(MonitorInputs.mute).loop())(do_nothing)
    # a pause that failed after the recording was suspended
    pep614(states.suspended.upon(MonitorInputs.retry).to(states.starting))(start)

    @pep614(states.waiting.upon(MonitorInputs.mute).to(states.starting))
    def suspend_unstarted(inputs: MonitorInputs, core: MonitorCore, changed: Deferred[None]) -> None:
        core.request_change(changed, muted=True)
        start(inputs, core)

    pep614(states.waiting.upon(MonitorInputs.unmute).loop())(cannot_change)

    @pep614(states.suspended.upon(MonitorInputs.unmute).to(states.starting))
    def start_audible(inputs: MonitorInputs, core: MonitorCore, changed: Deferred[None]) -> None:
        core.request_change(changed, muted=False)
        start(inputs, core)
