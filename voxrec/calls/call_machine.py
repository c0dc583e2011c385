"""The call machine: every path of a call from the caller's INVITE until nothing of it is left in Asterisk.

Events from Asterisk, requests from REST and the outcomes of commands are its inputs. The machines of transfers,
recordings and pauses (in the modules `transfer_machine`, `monitor`, `recording_log` and `pause`) are subordinate to it.
"""

from collections.abc import Callable

from automat import TypeMachineBuilder

from voxrec.calls.call_core import CallCore, CallInputs
from voxrec.calls.call_states import CallStates
from voxrec.calls.ending_steps import add_clearing, add_detachment, add_end_by_parties, add_end_by_voxrec
from voxrec.calls.invitation_steps import add_invitation
from voxrec.calls.setup_steps import add_setup, add_setup_failures, add_takeover
from voxrec.calls.transfer_steps import add_redirections, add_replacements, add_transfers
from voxrec.machine_builder import build, declare_states


def _make_machine() -> Callable[[CallCore], CallInputs]:
    builder = TypeMachineBuilder(CallInputs, CallCore)
    states = declare_states(CallStates, builder)
    _ignore_late_inputs(states)
    add_invitation(states)
    add_setup(states)
    add_setup_failures(states)
    add_takeover(states)
    add_transfers(states)
    add_replacements(states)
    add_redirections(states)
    add_end_by_parties(states)
    add_end_by_voxrec(states)
    add_clearing(states)
    add_detachment(states)
    return build(builder)


def _ignore_late_inputs(states: CallStates) -> None:
    """Add the transitions without behaviour: duplicates, and outcomes and events that are too late to matter."""
    for state in (states.new, *states.dialled, *states.answered, *states.ending):
        state.upon(CallInputs.bridge_created).loop().returns(None)
    for state in (states.new, states.placing, states.alerting, *states.answered, *states.ending):
        state.upon(CallInputs.leg_joined).loop().returns(None)
        state.upon(CallInputs.leg_rings).loop().returns(None)
        state.upon(CallInputs.leg_is_silent).loop().returns(None)
    for state in (*states.answered, *states.ending):
        state.upon(CallInputs.setup_failed).loop().returns(None)
    for state in (states.new, *states.ending):
        state.upon(CallInputs.superseded).loop().returns(None)
    for state in (states.new, *states.unanswered, states.announcing, states.talking, *states.ending):
        state.upon(CallInputs.recording_started).loop().returns(None)
    for state in (states.new, *states.unanswered, states.connecting, states.talking, *states.ending):
        state.upon(CallInputs.announcement_finished).loop().returns(None)
        state.upon(CallInputs.announcement_lost).loop().returns(None)
    for state in (states.new, *states.unanswered, *states.ending):
        state.upon(CallInputs.duration_reached).loop().returns(None)
    for state in (states.new, *states.unanswered, states.connecting, states.announcing, *states.ending):
        state.upon(CallInputs.record).loop().returns(None)
    for state in (states.new, *states.unanswered, states.over):
        state.upon(CallInputs.recording_closed).loop().returns(None)
    for state in (states.new, states.placing, *states.ending):
        state.upon(CallInputs.leg_answered).loop().returns(None)
        state.upon(CallInputs.transfer_forbidden).loop().returns(None)
        state.upon(CallInputs.transfer_failed).loop().returns(None)
    for state in (states.new, *states.ending):
        state.upon(CallInputs.replacement_failed).loop().returns(None)
        state.upon(CallInputs.release).loop().returns(None)
    for state in (states.new, states.clearing):
        state.upon(CallInputs.leg_left).loop().returns(None)
    # the state in Asterisk, which is read while the call is new, includes that the leg has entered
    states.new.upon(CallInputs.leg_entered).loop().returns(None)
    for ignored in (
        CallInputs.leg_entered,
        CallInputs.leg_hung_up,
        CallInputs.leg_redirected,
        CallInputs.leg_left,
        CallInputs.caller_hung_up,
        CallInputs.caller_left,
        CallInputs.channel_not_found,
        CallInputs.detach,
    ):
        states.over.upon(ignored).loop().returns(None)


call_machine = _make_machine()
"""Makes the machine of one call, with the state ``new``."""
