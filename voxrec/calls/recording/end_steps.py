"""The part of the machine of a recording that ends it, or leaves it to another process."""

from automat import pep614
from twisted.python.failure import Failure

from voxrec.calls.recording.monitor_core import MonitorCore
from voxrec.calls.recording.monitor_inputs import MonitorInputs
from voxrec.calls.recording.monitor_states import MonitorStates


def watch_end(inputs: MonitorInputs, core: MonitorCore) -> None:
    """Wait until Asterisk has closed the files."""
    core.watch_end(inputs.closed)


def add_stop(states: MonitorStates) -> None:
    """Add the transitions of a recording that ends before its call."""

    def stop(inputs: MonitorInputs, core: MonitorCore) -> None:
        def failed(failure: Failure) -> None:
            inputs.stop_failed(failure)

        core.cancel_timers()
        # the thread of a MixMonitor that has just started may still open its files: only they tell the end
        core.commands.stop(core.channel, core.monitor).addCallbacks(lambda _: inputs.stopped(), failed)

    def stop_begun(inputs: MonitorInputs, core: MonitorCore, monitor: str) -> None:
        core.use_monitor(monitor)
        stop(inputs, core)

    for state in (*states.delayed, *states.started, states.leaving, states.leave_waiting):
        pep614(state.upon(MonitorInputs.stop).to(states.stopping))(stop)
    for state in (states.moving, states.rejoining, states.suspended):
        pep614(state.upon(MonitorInputs.stop).to(states.closing))(watch_end)
    for state in (states.starting, states.locating):
        state.upon(MonitorInputs.stop).to(states.cancelling).returns(None)

    @pep614(states.replaced.upon(MonitorInputs.stop).to(states.cancelling))
    def cancel_on_former(inputs: MonitorInputs, core: MonitorCore) -> None:
        core.channel = core.former_channel

    pep614(states.cancelling.upon(MonitorInputs.begun).to(states.stopping))(stop_begun)
    pep614(states.stop_waiting.upon(MonitorInputs.retry).to(states.stopping))(stop)
    pep614(states.stopping.upon(MonitorInputs.stopped).to(states.closing))(watch_end)

    def stop_failed(inputs: MonitorInputs, core: MonitorCore, failure: Failure) -> None:
        core.report_stop_failure(failure)
        core.retry_later(inputs)

    def stop_uncertain(inputs: MonitorInputs, core: MonitorCore, failure: Failure) -> None:
        core.monitor = ""  # of the MixMonitor that may have been started the id is not known
        stop_failed(inputs, core, failure)

    pep614(states.stopping.upon(MonitorInputs.stop_failed).to(states.stop_waiting))(stop_failed)
    pep614(states.cancelling.upon(MonitorInputs.unsent).to(states.stop_waiting))(stop_failed)
    pep614(states.cancelling.upon(MonitorInputs.unavailable).to(states.stop_waiting))(stop_uncertain)

    @pep614(states.closing.upon(MonitorInputs.stop).loop())
    def stop_closing(inputs: MonitorInputs, core: MonitorCore) -> None:
        core.commands.stop(core.channel, core.monitor).addErrback(core.report_stop_failure)


def add_end(states: MonitorStates) -> None:
    """Add the transitions from the end of the call until the files are closed."""
    for state in (*states.commanded, states.cancelling):
        state.upon(MonitorInputs.call_ended).to(states.ending).returns(None)
    for state in (*states.delayed, *states.started, *states.between, states.stopping, states.stop_waiting):
        pep614(state.upon(MonitorInputs.call_ended).to(states.closing))(watch_end)
    pep614(states.idle.upon(MonitorInputs.found_ended).to(states.closing))(watch_end)

    @pep614(states.ending.upon(MonitorInputs.begun).to(states.closing))
    def watch_end_of_begun(inputs: MonitorInputs, core: MonitorCore, monitor: str) -> None:
        core.use_monitor(monitor)
        watch_end(inputs, core)

    @pep614(states.ending.upon(MonitorInputs.unsent).to(states.closing))
    @pep614(states.ending.upon(MonitorInputs.unavailable).to(states.closing))
    @pep614(states.ending.upon(MonitorInputs.refused).to(states.closing))
    def watch_end_of_unconfirmed(inputs: MonitorInputs, core: MonitorCore, failure: Failure) -> None:
        watch_end(inputs, core)

    def end(inputs: MonitorInputs, core: MonitorCore) -> None:
        core.cancel_timers()
        core.started()
        core.over()
        core.settle_change(core.not_recorded())

    def end_everything(inputs: MonitorInputs, core: MonitorCore) -> None:
        core.polling.cancel()
        end(inputs, core)

    for state in (*states.current, *states.finishing):
        pep614(state.upon(MonitorInputs.closed).to(states.closed))(end_everything)
    pep614(states.idle.upon(MonitorInputs.closed).to(states.closed))(end)
    pep614(states.idle.upon(MonitorInputs.call_ended).to(states.closed))(end)
    # another process continues also with a recording that is only due, which it finds in the database
    pep614(states.idle.upon(MonitorInputs.detach).to(states.closed))(end)


def add_detachment(states: MonitorStates) -> None:
    """Add the transitions of a recording that another process continues."""

    def detach(inputs: MonitorInputs, core: MonitorCore) -> None:
        core.detached = True
        core.polling.cancel()
        core.cancel_timers()
        core.settle_change(core.not_recorded())

    for state in (*states.current, *states.finishing):
        pep614(state.upon(MonitorInputs.detach).to(states.closed))(detach)
