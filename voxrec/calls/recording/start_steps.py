"""The part of the machine of a recording in which a MixMonitor is started, also without AMI."""

from collections.abc import Coroutine
from typing import Any

from automat import pep614
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from voxrec.calls.recording import late_commands
from voxrec.calls.recording.monitor_core import NOT_OPENED, MonitorCore, may_be_executed
from voxrec.calls.recording.monitor_inputs import MonitorInputs
from voxrec.calls.recording.monitor_states import MonitorStates
from voxrec.errors import AsteriskUnavailable, CommandNotSent
from voxrec.model import Side


def start(inputs: MonitorInputs, core: MonitorCore) -> None:
    """Tell Asterisk to start a MixMonitor, unless the recording is paused: then it is suspended."""
    core.cancel_timers()
    core.polling.cancel()
    if core.muted:
        inputs.suspend()
        core.settle_change()
    else:
        _run(inputs, _start(core, core.channel))


async def _start(core: MonitorCore, channel: str) -> str:
    if core.doubts.remain:
        await late_commands.stop_stray(core, channel)
    return await core.start(channel)


def locate(inputs: MonitorInputs, core: MonitorCore) -> None:
    """Find the MixMonitor that a command of unknown outcome has started, or start one."""
    core.cancel_timers()
    _run(inputs, core.locate(core.channel))


def _run(inputs: MonitorInputs, command: Coroutine[Any, Any, str]) -> None:
    def failed(failure: Failure) -> None:
        if failure.check(CommandNotSent):
            inputs.unsent(failure)
        elif failure.check(AsteriskUnavailable):
            inputs.unavailable(failure)
        else:
            inputs.refused(failure)

    Deferred.fromCoroutine(command).addCallbacks(inputs.begun, failed)


def add_start(states: MonitorStates) -> None:
    """Add the transitions until a MixMonitor records, or Asterisk has refused it."""
    pep614(states.idle.upon(MonitorInputs.begin).to(states.starting))(start)

    @pep614(states.starting.upon(MonitorInputs.begun).to(states.opening))
    @pep614(states.locating.upon(MonitorInputs.begun).to(states.opening))
    def begun(inputs: MonitorInputs, core: MonitorCore, monitor: str) -> None:
        core.use_monitor(monitor)
        core.watch_creation(inputs)
        if core.doubts.remain:
            core.check_later(inputs)
        Deferred.fromCoroutine(core.carry_out_change(inputs))

    @pep614(states.opening.upon(MonitorInputs.created).to(states.recording))
    def created(inputs: MonitorInputs, core: MonitorCore, sides: frozenset[Side]) -> None:
        core.expected = sides
        for side in Side:
            if side not in sides:
                core.report_failure(side, NOT_OPENED)
        if core.is_late:
            core.is_late = False
            core.late()
        core.started()
        if not sides:
            inputs.stop()

    def refuse(inputs: MonitorInputs, core: MonitorCore, failure: Failure) -> None:
        core.report_refusal(failure)
        core.started()
        core.over()
        core.settle_change(core.not_recorded())

    for state in (states.starting, states.locating, states.cancelling):
        pep614(state.upon(MonitorInputs.refused).to(states.closed))(refuse)


def add_outages(states: MonitorStates) -> None:
    """Add the transitions for commands that could not be sent, or whose outcome is not known."""

    @pep614(states.starting.upon(MonitorInputs.unsent).to(states.waiting))
    def wait(inputs: MonitorInputs, core: MonitorCore, failure: Failure) -> None:
        if core.change is not None and not core.muted:  # it cannot be resumed, and stays paused
            core.muted = True
            inputs.suspend()
            core.settle_change(failure.value)
            return
        core.report_delay(failure)
        if core.muted:
            inputs.suspend()
            core.settle_change()
        else:
            core.started()
            core.retry_later(inputs)

    @pep614(states.starting.upon(MonitorInputs.unavailable).to(states.uncertain))
    @pep614(states.locating.upon(MonitorInputs.unavailable).to(states.uncertain))
    @pep614(states.locating.upon(MonitorInputs.unsent).to(states.uncertain))
    def wait_for_outcome(inputs: MonitorInputs, core: MonitorCore, failure: Failure) -> None:
        if may_be_executed(failure.value):
            core.doubts.begin()
        core.monitor = ""
        core.report_delay(failure)
        core.started()
        core.retry_later(inputs)
        # audio may be recorded: it is not paused, and if it was to be resumed, it is not paused any more
        error = failure.value if core.muted else None
        core.muted = False
        core.settle_change(error)

    pep614(states.waiting.upon(MonitorInputs.retry).to(states.starting))(start)
    pep614(states.uncertain.upon(MonitorInputs.retry).to(states.locating))(locate)

    @pep614(states.opening.upon(MonitorInputs.retry).loop())
    def verify(inputs: MonitorInputs, core: MonitorCore) -> None:
        Deferred.fromCoroutine(late_commands.verify(inputs, core))

    @pep614(states.recording.upon(MonitorInputs.retry).loop())
    def check(inputs: MonitorInputs, core: MonitorCore) -> None:
        Deferred.fromCoroutine(late_commands.check(inputs, core))
