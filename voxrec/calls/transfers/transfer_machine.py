"""The transfer machine: how the far end of a call is replaced when it transfers the call (REFER).

voxrec creates a leg to the target, which joins the bridge in place of the far end's. The call machine decides whether a
transfer is possible at all, and what follows if it fails.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from automat import TypeMachineBuilder, pep614

from voxrec.calls.transfers.transfer_core import TransferCore, TransferInputs, TransferRequest
from voxrec.machine_builder import build, declare_states

if TYPE_CHECKING:
    from automat._typed import TypedState  # which automat does not export

State: TypeAlias = "TypedState[TransferInputs, TransferCore]"


@dataclass(frozen=True, slots=True)
class _States:
    """The states of the transfer machine, in the order in which a transfer passes through them.

    A transfer is `postponed` while the state of a call that is being taken over is not known. The leg to the target is
    `creating`, `joining` the bridge, or `ringing`. The machine is `idle` again when the target has answered, and
    `ended` with the call.
    """

    idle: State
    postponed: State
    creating: State
    joining: State
    ringing: State
    ended: State

    @property
    def in_progress(self) -> tuple[State, ...]:
        """The states in which there is a leg to a target that has not answered."""
        return (self.creating, self.joining, self.ringing)


def _make_machine() -> Callable[[TransferCore], TransferInputs]:
    builder = TypeMachineBuilder(TransferInputs, TransferCore)
    states = declare_states(_States, builder)
    _ignore_late_inputs(states)
    _add_transfer(states)
    _add_redirections(states)
    _add_takeover(states)
    _add_refusals(states)
    _add_failures(states)
    _add_end(states)
    return build(builder)


def _ignore_late_inputs(states: _States) -> None:
    """Add the transitions without behaviour: duplicates, and outcomes and events that are too late to matter."""
    for state in (states.idle, states.postponed, states.joining, states.ringing, states.ended):
        state.upon(TransferInputs.leg_entered).loop().returns(None)
    for state in (states.idle, states.postponed, states.creating, states.joining, states.ended):
        state.upon(TransferInputs.leg_answered).loop().returns(None)
    for state in (states.idle, states.postponed, states.creating, states.ringing, states.ended):
        state.upon(TransferInputs.joined).loop().returns(None)
    for state in (states.idle, states.postponed, states.ended):
        state.upon(TransferInputs.command_failed).loop().returns(None)
        state.upon(TransferInputs.timed_out).loop().returns(None)
        state.upon(TransferInputs.leg_replaced).loop().returns(None)
    for state in (states.idle, *states.in_progress, states.ended):
        state.upon(TransferInputs.taken_over).loop().returns(None)
        state.upon(TransferInputs.taken_over_too_early).loop().returns(None)
    for state in (states.postponed, *states.in_progress, states.ended):
        state.upon(TransferInputs.found_creating).loop().returns(None)
        state.upon(TransferInputs.found_ringing).loop().returns(None)
    states.ended.upon(TransferInputs.call_ended).loop().returns(None)
    states.ended.upon(TransferInputs.detach).loop().returns(None)


def _add_transfer(states: _States) -> None:
    """Add the transitions of a transfer that succeeds."""

    def create(inputs: TransferInputs, core: TransferCore, request: TransferRequest) -> None:
        core.create_leg(inputs, request)

    # while it rings here, the target may have answered and transferred the call again
    for state in (states.idle, states.ringing):
        pep614(state.upon(TransferInputs.requested).to(states.creating))(create)

    @pep614(states.creating.upon(TransferInputs.leg_entered).to(states.joining))
    def join(inputs: TransferInputs, core: TransferCore) -> None:
        core.join(inputs)

    @pep614(states.joining.upon(TransferInputs.joined).to(states.ringing))
    def dial(inputs: TransferInputs, core: TransferCore) -> None:
        core.dial(inputs)

    @pep614(states.ringing.upon(TransferInputs.leg_answered).to(states.idle))
    def complete(inputs: TransferInputs, core: TransferCore) -> None:
        core.deadline.cancel()
        core.joined()

    def pick_up(inputs: TransferInputs, core: TransferCore) -> None:
        core.deadline.cancel()

    for state in states.in_progress:  # call pick-up: another party answers for the target
        pep614(state.upon(TransferInputs.leg_replaced).to(states.idle))(pick_up)


def _add_redirections(states: _States) -> None:
    """Add the transitions for a target that redirects the call to another SIP URI."""

    @pep614(states.ringing.upon(TransferInputs.redirected).to(states.creating))
    def redirect(inputs: TransferInputs, core: TransferCore, callee: str) -> None:
        core.redirect(inputs, callee)

    def fail(inputs: TransferInputs, core: TransferCore, callee: str) -> None:
        core.failed()

    # no other leg of an answered call has been dialled and not answered
    for state in (states.idle, states.postponed, states.creating, states.joining, states.ended):
        pep614(state.upon(TransferInputs.redirected).loop())(fail)


def _add_takeover(states: _States) -> None:
    """Add the transitions of a call that is being taken over from another process."""

    @pep614(states.idle.upon(TransferInputs.requested_early).to(states.postponed))
    def postpone(inputs: TransferInputs, core: TransferCore, request: TransferRequest) -> None:
        core.early_request = request

    @pep614(states.postponed.upon(TransferInputs.taken_over).to(states.creating))
    def begin_postponed(inputs: TransferInputs, core: TransferCore) -> None:
        core.create_leg(inputs, core.take_early_request())

    def refuse_postponed(inputs: TransferInputs, core: TransferCore) -> None:
        core.refuse(core.take_early_request())

    pep614(states.postponed.upon(TransferInputs.taken_over_too_early).to(states.idle))(refuse_postponed)
    pep614(states.postponed.upon(TransferInputs.call_ended).to(states.ended))(refuse_postponed)

    @pep614(states.idle.upon(TransferInputs.found_creating).to(states.creating))
    def continue_creating(inputs: TransferInputs, core: TransferCore) -> None:
        core.await_creation(inputs)

    @pep614(states.idle.upon(TransferInputs.found_ringing).to(states.ringing))
    def continue_ringing(inputs: TransferInputs, core: TransferCore) -> None:
        core.await_answer(inputs)


def _add_refusals(states: _States) -> None:
    """Add the transitions for transfers that are requested when none can begin."""

    def refuse(inputs: TransferInputs, core: TransferCore, request: TransferRequest) -> None:
        core.refuse(request)

    for state in (states.creating, states.joining, states.postponed, states.ended):
        pep614(state.upon(TransferInputs.requested).loop())(refuse)
    for state in (states.postponed, *states.in_progress, states.ended):
        pep614(state.upon(TransferInputs.requested_early).loop())(refuse)


def _add_failures(states: _States) -> None:
    """Add the transitions for a target that cannot be reached: the call machine ends the call then."""

    def fail(inputs: TransferInputs, core: TransferCore) -> None:
        core.failed()

    for state in states.in_progress:
        pep614(state.upon(TransferInputs.command_failed).loop())(fail)
        pep614(state.upon(TransferInputs.timed_out).loop())(fail)


def _add_end(states: _States) -> None:
    """Add the transitions by which the call ends, or another process gets it."""

    def end(inputs: TransferInputs, core: TransferCore) -> None:
        core.deadline.cancel()
        core.remove_placeholders()

    def detach(inputs: TransferInputs, core: TransferCore) -> None:
        core.deadline.cancel()

    for state in (states.idle, *states.in_progress):
        pep614(state.upon(TransferInputs.call_ended).to(states.ended))(end)
    for state in (states.idle, states.postponed, *states.in_progress):
        pep614(state.upon(TransferInputs.detach).to(states.ended))(detach)


transfer_machine = _make_machine()
"""Makes the transfer machine of one call, with the state ``idle``."""
