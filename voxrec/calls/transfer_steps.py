"""The part of the call machine in which its parties change: transfers, replaced channels, and redirections."""

from automat import pep614

from voxrec.calls import replacement_steps
from voxrec.calls.call_core import CallCore, CallInputs
from voxrec.calls.call_states import CallStates
from voxrec.calls.transfers.transfer_core import TransferRequest
from voxrec.model import CallState


def add_transfers(states: CallStates) -> None:
    """Add the transitions of transfers.

    Only a leg that has answered can transfer a call, so `ringing` means that its answer is still to come.
    """

    def transfer(inputs: CallInputs, call: CallCore, request: TransferRequest) -> None:
        call.transfer.requested(request)

    @pep614(states.ringing.upon(CallInputs.transfer_requested).loop())
    @pep614(states.alerting.upon(CallInputs.transfer_requested).loop())
    def transfer_unanswered(inputs: CallInputs, call: CallCore, request: TransferRequest) -> None:
        # the transfer has time limits of its own
        call.enter(inputs, CallState.RINGING, call.data.settings.setup_timeout + 2 * call.data.ring_timeout)
        call.transfer.requested(request)

    @pep614(states.new.upon(CallInputs.transfer_requested).loop())
    def postpone_transfer(inputs: CallInputs, call: CallCore, request: TransferRequest) -> None:
        call.transfer.requested_early(request)

    def refuse_transfer(inputs: CallInputs, call: CallCore, request: TransferRequest) -> None:
        call.transfer_core.refuse(request)

    def target_entered(inputs: CallInputs, call: CallCore) -> None:
        call.transfer.leg_entered()

    def target_answered(inputs: CallInputs, call: CallCore) -> None:
        call.transfer.leg_answered()

    for state in states.answered:
        pep614(state.upon(CallInputs.transfer_requested).loop())(transfer)
        pep614(state.upon(CallInputs.leg_answered).loop())(target_answered)
    for state in (*states.dialled, *states.answered):
        pep614(state.upon(CallInputs.leg_entered).loop())(target_entered)
    for state in (states.placing, *states.ending):
        pep614(state.upon(CallInputs.transfer_requested).loop())(refuse_transfer)


def add_replacements(states: CallStates) -> None:
    """Add the transitions of channels that Asterisk itself has replaced.

    It can replace the current leg only after it was dialled.
    """
    for state in (*states.unanswered, *states.answered):
        pep614(state.upon(CallInputs.caller_replaced).loop())(replacement_steps.replace_caller)
        pep614(state.upon(CallInputs.leg_left).loop())(replacement_steps.watch_departed_leg)
    for state in (*states.dialled, *states.answered):
        pep614(state.upon(CallInputs.leg_replaced).loop())(replacement_steps.replace_leg)
    for state in (states.new, *states.ending):
        pep614(state.upon(CallInputs.caller_replaced).loop())(replacement_steps.refuse_replacement)
    for state in (states.new, states.placing, *states.ending):
        pep614(state.upon(CallInputs.leg_replaced).loop())(replacement_steps.refuse_replacement)


def add_redirections(states: CallStates) -> None:
    """Add the transitions of redirections: by the far end of an unanswered call, and by the target of a transfer."""

    def redirect(inputs: CallInputs, call: CallCore, callee: str) -> None:
        call.resources.gone(call.legs.current)
        call.enter(inputs, CallState.PLACING, call.data.settings.setup_timeout)
        call.legs.use_next_leg(callee)
        call.steps.run(call.legs.create_leg(), failed=inputs.setup_failed)

    for state in states.unanswered:
        pep614(state.upon(CallInputs.leg_redirected).to(states.placing))(redirect)

    def target_redirected(inputs: CallInputs, call: CallCore, callee: str) -> None:
        call.resources.gone(call.legs.current)
        call.transfer.redirected(callee)

    for state in (states.new, *states.answered, states.clearing):
        pep614(state.upon(CallInputs.leg_redirected).loop())(target_redirected)
