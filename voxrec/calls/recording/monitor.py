"""The machine that records one call: from the start of the MixMonitor until Asterisk has closed both files.

While AMI is not connected nothing can be started, muted or stopped. What is due then is done when AMI is connected
again. A command whose outcome is not known is repeated: it sets a state, or it is found out first what it has done. It
may also be executed later (`voxrec.calls.recording.session_directory`).

A MixMonitor records audio until it is muted. Therefore none is started during a pause: if the one that writes the
silence of the pause ends, because its channel is replaced or its decoders are renewed, the recording is suspended until
it is resumed, and the finish job adds the silence that is missing.
"""

from collections.abc import Callable

from automat import TypeMachineBuilder

from voxrec.calls.recording.continuation_steps import add_continuation, add_replacement, add_takeover
from voxrec.calls.recording.end_steps import add_detachment, add_end, add_stop
from voxrec.calls.recording.monitor_core import MonitorCore
from voxrec.calls.recording.monitor_inputs import MonitorInputs
from voxrec.calls.recording.monitor_states import MonitorStates
from voxrec.calls.recording.pause_steps import add_pauses, add_suspension
from voxrec.calls.recording.start_steps import add_outages, add_start
from voxrec.machine_builder import build, declare_states


def _make_machine() -> Callable[[MonitorCore], MonitorInputs]:
    builder = TypeMachineBuilder(MonitorInputs, MonitorCore)
    states = declare_states(MonitorStates, builder)
    _ignore_late_inputs(states)
    add_start(states)
    add_outages(states)
    add_continuation(states)
    add_replacement(states)
    add_takeover(states)
    add_pauses(states)
    add_suspension(states)
    add_stop(states)
    add_end(states)
    add_detachment(states)
    return build(builder)


def _ignore_late_inputs(states: MonitorStates) -> None:
    """Add the transitions without behaviour: repetitions, and outcomes and events that are too late to matter."""
    for state in (
        states.idle,
        *states.commanded,
        states.leaving,
        states.moving,
        states.rejoining,
        states.cancelling,
        states.ending,
        states.stopping,
        states.closing,
        states.closed,
    ):
        state.upon(MonitorInputs.retry).loop().returns(None)
    for state in (
        states.idle,
        states.cancelling,
        states.ending,
        states.stopping,
        states.stop_waiting,
        states.closed,
    ):
        state.upon(MonitorInputs.stop).loop().returns(None)
    for state in (*states.finishing, states.closed):
        state.upon(MonitorInputs.use_channel).loop().returns(None)
    # what is started next has new decoders
    for state in (states.idle, *states.commanded, *states.delayed, *states.between, *states.finishing, states.closed):
        state.upon(MonitorInputs.renew).loop().returns(None)
    for state in (states.idle, *states.commanded, *states.delayed, *states.started, *states.finishing, states.closed):
        state.upon(MonitorInputs.moved).loop().returns(None)
    for state in (states.idle, *states.current, *states.finishing, states.closed):
        if state is not states.leaving:
            for late in (MonitorInputs.left, MonitorInputs.not_left, MonitorInputs.leave_failed):
                state.upon(late).loop().returns(None)
    for state in (states.leaving, states.leave_waiting, states.suspended):
        state.upon(MonitorInputs.moved).loop().returns(None)
    for state in (*states.commanded, *states.delayed, *states.between, *states.finishing, states.closed):
        state.upon(MonitorInputs.interrupted).loop().returns(None)
    for state in (states.cancelling, states.stop_waiting, states.ending, states.closing, states.closed):
        state.upon(MonitorInputs.stopped).loop().returns(None)
    for state in (states.ending, states.closing, states.closed):
        state.upon(MonitorInputs.call_ended).loop().returns(None)
        state.upon(MonitorInputs.stop_failed).loop().returns(None)
    for outcome in (
        MonitorInputs.begun,
        MonitorInputs.unsent,
        MonitorInputs.unavailable,
        MonitorInputs.refused,
        MonitorInputs.created,
        MonitorInputs.closed,
        MonitorInputs.detach,
    ):
        states.closed.upon(outcome).loop().returns(None)
    for state in (states.leaving, states.leave_waiting, states.moving):
        state.upon(MonitorInputs.created).loop().returns(None)
    for state in (states.stopping, states.stop_waiting, states.closing):
        state.upon(MonitorInputs.created).loop().returns(None)


monitor_machine = _make_machine()
"""Makes the machine of the recording of one call, with the state ``idle``."""
