"""The part of the call machine before the far end is called: voxrec calls a person first, whom a client has named."""

from typing import Final

from automat import pep614

from voxrec.calls import replacement_steps
from voxrec.calls.call_core import CallCore, CallInputs
from voxrec.calls.call_states import CallStates
from voxrec.calls.setup_steps import place
from voxrec.calls.signalling.causes import Cause
from voxrec.calls.transfers.transfer_core import TransferRequest
from voxrec.model import CallState, Side

_VOXREC: Final = "voxrec"  # as the party that ended a call


def add_invitation(states: CallStates) -> None:
    """Add the transitions of ``calling``: from ``new``, to ``placing``, or to ``clearing``."""
    for state in (states.new, *states.unanswered, *states.answered, *states.ending):
        state.upon(CallInputs.caller_entered).loop().returns(None)
        state.upon(CallInputs.caller_answered).loop().returns(None)
    for impossible in (  # there is no leg yet
        CallInputs.announcement_finished,
        CallInputs.announcement_lost,
        CallInputs.bridge_created,
        CallInputs.channel_not_found,
        CallInputs.duration_reached,
        CallInputs.leg_answered,
        CallInputs.leg_entered,
        CallInputs.leg_hung_up,
        CallInputs.leg_is_silent,
        CallInputs.leg_joined,
        CallInputs.leg_left,
        CallInputs.leg_redirected,
        CallInputs.leg_rings,
        CallInputs.record,
        CallInputs.recording_closed,
        CallInputs.recording_started,
        CallInputs.replacement_failed,
        CallInputs.superseded,
        CallInputs.transfer_failed,
        CallInputs.transfer_forbidden,
    ):
        states.calling.upon(impossible).loop().returns(None)

    @pep614(states.new.upon(CallInputs.invite).to(states.calling))
    def create(inputs: CallInputs, call: CallCore) -> None:
        call.enter(inputs, CallState.CALLING, call.data.settings.setup_timeout)
        call.steps.run(call.invited.create(), failed=inputs.setup_failed)

    @pep614(states.calling.upon(CallInputs.caller_entered).loop())
    def dial(inputs: CallInputs, call: CallCore) -> None:
        call.enter(inputs, CallState.CALLING, call.data.ring_timeout)
        call.steps.run(call.invited.dial(), failed=inputs.setup_failed)

    @pep614(states.new.upon(CallInputs.found_calling).to(states.calling))
    def continue_calling(inputs: CallInputs, call: CallCore) -> None:
        rung = call.data.seconds_since(call.data.started_at)
        call.enter(inputs, CallState.CALLING, max(1.0, call.data.ring_timeout - rung))

    @pep614(states.calling.upon(CallInputs.caller_answered).to(states.placing))
    def call_far_end(inputs: CallInputs, call: CallCore) -> None:
        call.steps.attempt(call.invited.store_answer())
        place(inputs, call)

    # It ends. ``hangupBy`` is the caller if the person has refused the call or has hung up.

    @pep614(states.calling.upon(CallInputs.caller_hung_up).to(states.clearing))
    def refused(inputs: CallInputs, call: CallCore, cause: int) -> None:
        call.resources.gone(call.data.inbound.channel)
        call.clear(inputs, cause=cause or Cause.CONGESTION, by=Side.CALLER)

    @pep614(states.calling.upon(CallInputs.caller_left).loop())
    def left(inputs: CallInputs, call: CallCore) -> None:
        # the event that says why the channel ends follows, unless another program uses it
        call.departure.start(replacement_steps.DEPARTURE_TIMEOUT, lambda: inputs.release(Cause.NORMAL))

    @pep614(states.calling.upon(CallInputs.timed_out).to(states.clearing))
    def no_answer(inputs: CallInputs, call: CallCore) -> None:
        call.clear(inputs, cause=Cause.NO_ANSWER, by=_VOXREC)

    @pep614(states.calling.upon(CallInputs.setup_failed).to(states.clearing))
    def failed(inputs: CallInputs, call: CallCore) -> None:
        call.clear(inputs, cause=Cause.CONGESTION, by=_VOXREC)

    @pep614(states.calling.upon(CallInputs.release).to(states.clearing))
    def release(inputs: CallInputs, call: CallCore, cause: int) -> None:
        call.clear(inputs, cause=cause, by=_VOXREC)

    @pep614(states.calling.upon(CallInputs.detach).to(states.over))
    def detach(_inputs: CallInputs, call: CallCore) -> None:
        call.cancel_timers()

    @pep614(states.calling.upon(CallInputs.transfer_requested).loop())
    def refuse_transfer(_inputs: CallInputs, call: CallCore, request: TransferRequest) -> None:
        call.transfer_core.refuse(request)

    pep614(states.calling.upon(CallInputs.caller_replaced).loop())(replacement_steps.refuse_replacement)
    pep614(states.calling.upon(CallInputs.leg_replaced).loop())(replacement_steps.refuse_replacement)
