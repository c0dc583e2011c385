"""The part of the call machine in which a call ends, until nothing of it is left in Asterisk."""

from typing import Final

from automat import pep614

from voxrec.calls import replacement_steps
from voxrec.calls.call_core import CallCore, CallInputs
from voxrec.calls.call_states import CallStates
from voxrec.calls.channels.resources import RECORDING
from voxrec.calls.signalling.causes import Cause
from voxrec.calls.signalling.sip_status import LOOP_DETECTED
from voxrec.calls.transfers.transfer_core import TRANSFER_REFUSED
from voxrec.model import CallState, Side

_VOXREC: Final = "voxrec"  # as the party that ended a call


def add_end_by_parties(states: CallStates) -> None:
    """Add the transitions by which a party ends the call.

    The caller gets the SIP status of an unanswered far end, as far as it is known, and its cause. Cause 0 means that it
    could not be reached.
    """

    def never_called(inputs: CallInputs, call: CallCore, cause: int) -> None:
        refused(inputs, call, cause or Cause.CONGESTION)

    def refused(inputs: CallInputs, call: CallCore, cause: int) -> None:
        call.explain_failure()
        call.resources.gone(call.legs.current)
        cause = cause or Cause.FAR_END_CONGESTION
        call.clear(inputs, cause=cause, by=Side.CALLEE, status=call.legs.refusal_status)

    def callee_hung_up(inputs: CallInputs, call: CallCore, cause: int) -> None:
        call.resources.gone(call.legs.current)
        call.clear(inputs, cause=cause or Cause.NORMAL, by=Side.CALLEE)

    def caller_hung_up(inputs: CallInputs, call: CallCore, cause: int) -> None:
        call.resources.gone(call.data.inbound.channel)
        call.clear(inputs, cause=cause or Cause.NORMAL, by=Side.CALLER)

    def caller_left(inputs: CallInputs, call: CallCore) -> None:
        caller_hung_up(inputs, call, Cause.NORMAL)
        replacement_steps.watch_departed_caller(call)

    def transfer_failed(inputs: CallInputs, call: CallCore) -> None:
        call.clear(inputs, cause=Cause.NORMAL, by=Side.CALLEE)

    def transfer_forbidden(inputs: CallInputs, call: CallCore) -> None:
        call.recording.note(TRANSFER_REFUSED, by=Side.CALLEE)
        call.clear(inputs, cause=Cause.NORMAL, by=Side.CALLEE)

    pep614(states.placing.upon(CallInputs.leg_hung_up).to(states.clearing))(never_called)
    for state in states.dialled:
        pep614(state.upon(CallInputs.leg_hung_up).to(states.clearing))(refused)
    for state in states.answered:
        pep614(state.upon(CallInputs.leg_hung_up).to(states.clearing))(callee_hung_up)
    for state in (*states.unanswered, *states.answered):
        pep614(state.upon(CallInputs.caller_hung_up).to(states.clearing))(caller_hung_up)
        pep614(state.upon(CallInputs.caller_left).to(states.clearing))(caller_left)
    for state in (*states.dialled, *states.answered):
        pep614(state.upon(CallInputs.transfer_failed).to(states.clearing))(transfer_failed)
        pep614(state.upon(CallInputs.transfer_forbidden).to(states.clearing))(transfer_forbidden)


def add_end_by_voxrec(states: CallStates) -> None:
    """Add the transitions by which voxrec ends the call: failures, time limits, and requests from REST.

    Before the far end is called, the cause of a failure is that by which a SIP proxy passes the call to another node;
    afterwards the other node would call the far end again.
    """

    def release(inputs: CallInputs, call: CallCore, cause: int) -> None:
        call.clear(inputs, cause=cause, by=_VOXREC)

    def congested(inputs: CallInputs, call: CallCore) -> None:
        call.explain_failure()
        call.clear(inputs, cause=Cause.CONGESTION, by=_VOXREC)

    def setup_failed(inputs: CallInputs, call: CallCore) -> None:
        call.explain_failure()
        call.clear(inputs, cause=Cause.FAR_END_CONGESTION, by=_VOXREC)

    def superseded(inputs: CallInputs, call: CallCore) -> None:
        call.log.warn("call {call}: given up, because another node has it: this node responded late", call=call.data.id)
        call.clear(inputs, cause=Cause.ROUTING_ERROR, by=_VOXREC, status=LOOP_DETECTED)

    for state in states.unanswered:
        pep614(state.upon(CallInputs.superseded).to(states.clearing))(superseded)
    pep614(states.placing.upon(CallInputs.setup_failed).to(states.clearing))(congested)
    for state in states.dialled:
        pep614(state.upon(CallInputs.setup_failed).to(states.clearing))(setup_failed)
    for state in states.unanswered:
        pep614(state.upon(CallInputs.replacement_failed).to(states.clearing))(setup_failed)
    for state in states.answered:
        pep614(state.upon(CallInputs.replacement_failed).to(states.clearing))(congested)
    for state in (*states.unanswered, *states.answered):
        pep614(state.upon(CallInputs.release).to(states.clearing))(release)
    pep614(states.placing.upon(CallInputs.timed_out).to(states.clearing))(congested)

    @pep614(states.alerting.upon(CallInputs.timed_out).to(states.clearing))
    def no_answer(inputs: CallInputs, call: CallCore) -> None:
        call.clear(inputs, cause=Cause.NO_ANSWER, by=_VOXREC)

    @pep614(states.ringing.upon(CallInputs.timed_out).to(states.clearing))
    def no_response(inputs: CallInputs, call: CallCore) -> None:
        call.explain_failure()
        call.clear(inputs, cause=Cause.NO_ANSWER if call.legs.has_progressed else Cause.NO_RESPONSE, by=_VOXREC)

    def maximum_duration(inputs: CallInputs, call: CallCore) -> None:
        call.log.info("call {call}: maximum call duration reached; ending it", call=call.data.id)
        call.clear(inputs, cause=Cause.NORMAL, by=_VOXREC)

    for state in states.answered:
        pep614(state.upon(CallInputs.duration_reached).to(states.clearing))(maximum_duration)


def add_clearing(states: CallStates) -> None:
    """Add the transitions after the end, until the channels and the files are gone.

    A new call may lose a channel while it is being taken over.
    """

    def leg_gone(inputs: CallInputs, call: CallCore, cause: int) -> None:
        call.resources.gone(call.legs.current)

    def caller_gone(inputs: CallInputs, call: CallCore, cause: int = Cause.NORMAL) -> None:
        call.departure.cancel()
        call.resources.gone(call.data.inbound.channel)

    for state in (states.new, states.clearing):
        pep614(state.upon(CallInputs.caller_left).loop())(caller_gone)
        pep614(state.upon(CallInputs.leg_hung_up).loop())(leg_gone)
    pep614(states.clearing.upon(CallInputs.caller_hung_up).loop())(caller_gone)

    @pep614(states.new.upon(CallInputs.caller_hung_up).loop())
    def caller_gone_early(inputs: CallInputs, call: CallCore, cause: int) -> None:
        caller_gone(inputs, call)
        call.steps.attempt(call.legs.hang_up(call.legs.current))  # now: its state may have to wait for PostgreSQL

    @pep614(states.clearing.upon(CallInputs.channel_not_found).loop())
    def channel_gone(inputs: CallInputs, call: CallCore, channel: str) -> None:
        call.resources.gone(channel)

    @pep614(states.clearing.upon(CallInputs.recording_closed).loop())
    def recording_gone(inputs: CallInputs, call: CallCore) -> None:
        call.resources.gone(RECORDING)

    @pep614(states.clearing.upon(CallInputs.leg_entered).loop())
    def leg_entered_late(inputs: CallInputs, call: CallCore) -> None:
        call.hang_up(inputs, call.legs.current)

    @pep614(states.clearing.upon(CallInputs.cleared).to(states.over))
    def finish(inputs: CallInputs, call: CallCore) -> None:
        call.data.status = CallState.OVER
        call.cancel_timers()
        call.steps.attempt(call.legs.destroy_bridge())
        call.steps.attempt(call.connection.release())
        call.recording.release()
        call.over()

    @pep614(states.clearing.upon(CallInputs.timed_out).to(states.over))
    def clear_by_force(inputs: CallInputs, call: CallCore) -> None:
        call.warn_of_remains()
        finish(inputs, call)

    states.over.upon(CallInputs.cleared).loop().returns(None)


def add_detachment(states: CallStates) -> None:
    """Add the transitions by which the process stops and leaves the call to the next one."""

    def detach(inputs: CallInputs, call: CallCore) -> None:
        call.cancel_timers()
        call.replacements.cancel()
        call.legs.detach()
        call.transfer.detach()
        call.recording.detach()

    for state in (states.new, *states.unanswered, *states.answered, states.clearing):
        pep614(state.upon(CallInputs.detach).to(states.over))(detach)
