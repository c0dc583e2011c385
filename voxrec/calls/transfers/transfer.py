"""The transfer machine: how the far end of a call is replaced when it transfers the call (REFER).

Asterisk replaces the leg that transfers the call in the bridge by a placeholder: one half of a Local channel, whose
other half enters the application with the target as argument. voxrec then creates a leg to the target, which joins the
bridge. The call machine decides whether a transfer is possible at all, and what follows if it fails.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from automat import TypeMachineBuilder, pep614
from twisted.logger import Logger

from voxrec import sipuri
from voxrec.calls.call_data import CallData
from voxrec.calls.channels.legs import TRANSFER_CONTEXT, Legs
from voxrec.calls.channels.steps import Steps
from voxrec.calls.signalling.causes import Cause
from voxrec.deadline import Deadline
from voxrec.machine_builder import build

TRANSFER_REFUSED: Final = "transfer.refused"
"""An event of the timeline: a party could not transfer the call; ``detail`` says why if Asterisk has refused it."""
_PLACEHOLDER_NAME: Final = re.compile(rf"Local/.*@{TRANSFER_CONTEXT}-[0-9a-f]+;[12]")
_EVENT_MARGIN: Final = 5.0  # seconds that the event about Asterisk's own ring timeout may take


@dataclass(frozen=True, slots=True)
class TransferRequest:
    """A transfer to ``callee``, a SIP URI, with the channel id of the placeholder that Asterisk left in the bridge.

    ``replaces`` names the dialog between the far end and the target in an attended transfer (RFC 3891).
    """

    callee: str
    placeholder: str
    replaces: str = ""


def is_placeholder(channel_name: str) -> bool:
    """Return whether a name is that of a Local channel to the context of transfers."""
    return _PLACEHOLDER_NAME.fullmatch(channel_name) is not None


class TransferInputs(Protocol):
    """The events of a call's transfers."""

    def requested(self, request: TransferRequest) -> None:
        """The far end has transferred the call."""

    def requested_early(self, request: TransferRequest) -> None:
        """The far end has transferred the call, whose state is not known yet because it is being taken over."""

    def taken_over(self) -> None:
        """The state of the call is known now, and permits a transfer."""

    def taken_over_too_early(self) -> None:
        """The state of the call is known now, and does not permit a transfer."""

    def found_creating(self) -> None:
        """Another process was creating the leg to the target when this process took over the call."""

    def found_ringing(self) -> None:
        """Another process had dialled the target when this process took over the call."""

    def redirected(self, callee: str) -> None:
        """The current leg is gone, because the target has redirected the call to another SIP URI."""

    def leg_entered(self) -> None:
        """The current leg has entered the application."""

    def joined(self) -> None:
        """The current leg is in the bridge."""

    def leg_answered(self) -> None:
        """The target has answered."""

    def leg_replaced(self) -> None:
        """Asterisk has put a channel in the place of the current leg, which needs not be dialled."""

    def command_failed(self) -> None:
        """Asterisk did not execute a command of the transfer."""

    def timed_out(self) -> None:
        """The current state has lasted too long."""

    def call_ended(self) -> None:
        """The call is being cleared."""

    def detach(self) -> None:
        """Another process has the call now."""


@dataclass
class TransferCore:
    """What the transfer machine works with.

    ``note`` adds an entry with the new callee to the timeline, ``is_recorded`` returns whether the call is recorded,
    ``leg_replaced`` is called when another leg is the current one, ``joined`` when the target has answered, and
    ``failed`` when it cannot be reached.
    """

    call: CallData
    legs: Legs
    steps: Steps
    note: Callable[[str], None]
    is_recorded: Callable[[], bool]
    leg_replaced: Callable[[], None]
    joined: Callable[[], None]
    failed: Callable[[], None]
    placeholders: list[str] = field(default_factory=list)  # those in the bridge, the newest last
    early_request: TransferRequest | None = None
    deadline: Deadline = field(init=False)
    log = Logger()

    def __post_init__(self) -> None:
        self.deadline = Deadline(self.call.clock)

    @property
    def all_placeholders(self) -> list[str]:
        """The placeholders of all transfers, including one that is postponed."""
        early = self.early_request
        return self.placeholders if early is None else [*self.placeholders, early.placeholder]

    @property
    def placeholder(self) -> str:
        """The newest placeholder; empty if there is none."""
        return self.placeholders[-1] if self.placeholders else ""

    def refuse(self, request: TransferRequest) -> None:
        """Remove the placeholder, and create no leg."""
        self.log.info(
            "call {call}: transfer to {host} refused: the call is {status} or being transferred already",
            call=self.call.id,
            host=sipuri.parse(request.callee).host,
            status=self.call.status,
        )
        self.steps.attempt(self.legs.hang_up(request.placeholder, Cause.REJECTED))

    def create_leg(self, inputs: TransferInputs, request: TransferRequest) -> None:
        """Create a leg to the target in place of the current leg."""
        self.log.info("call {call}: transferred to {host}", call=self.call.id, host=sipuri.parse(request.callee).host)
        self.note(request.callee)
        self.placeholders.append(request.placeholder)
        self.legs.use_next_leg(request.callee)
        self.leg_replaced()
        self.deadline.start(self.call.settings.setup_timeout, inputs.timed_out)
        self.steps.run(
            self.legs.create_leg(placeholder=request.placeholder, replaces=request.replaces),
            failed=inputs.command_failed,
        )

    def redirect(self, inputs: TransferInputs, callee: str) -> None:
        """Create a leg to another SIP URI in place of the current leg, which is gone."""
        self.note(callee)
        self.legs.use_next_leg(callee)
        self.leg_replaced()
        self.deadline.start(self.call.settings.setup_timeout, inputs.timed_out)
        placeholder = self.placeholders[-1] if self.placeholders else ""
        self.steps.run(self.legs.create_leg(placeholder=placeholder), failed=inputs.command_failed)

    def join(self, inputs: TransferInputs) -> None:
        """Put the current leg into the bridge, and remove the placeholders that are not needed any more.

        The newest placeholder of a recorded call stays in the bridge: a recording lacks frames whose RTP sequence
        number is not later than the one before, and the numbers of a new stream start anywhere (Asterisk 22.10: the
        target was silent in half of all recordings). Asterisk mixes a bridge of three channels, and mixed frames have
        no sequence numbers.
        """
        kept = self.placeholders[-1:] if self.is_recorded() else []
        removed, self.placeholders = self.placeholders[: len(self.placeholders) - len(kept)], kept
        for placeholder in removed:
            self.steps.attempt(self.legs.hang_up(placeholder))
        self.steps.run(self.legs.join(), succeeded=lambda _: inputs.joined(), failed=inputs.command_failed)

    def remove_placeholders(self) -> None:
        """Hang up all placeholders: the call ends."""
        for placeholder in self.placeholders:
            self.steps.attempt(self.legs.hang_up(placeholder))


def _make_machine() -> Callable[[TransferCore], TransferInputs]:
    builder = TypeMachineBuilder(TransferInputs, TransferCore)

    # States.

    idle = builder.state("idle")
    postponed = builder.state("postponed")
    creating = builder.state("creating")
    joining = builder.state("joining")
    ringing = builder.state("ringing")
    ended = builder.state("ended")
    in_progress = (creating, joining, ringing)
    everything = (idle, postponed, *in_progress, ended)

    # Transitions without behaviour.

    for state in (idle, postponed, joining, ringing, ended):
        state.upon(TransferInputs.leg_entered).loop().returns(None)
    for state in (idle, postponed, creating, joining, ended):
        state.upon(TransferInputs.leg_answered).loop().returns(None)
    for state in (idle, postponed, creating, ringing, ended):
        state.upon(TransferInputs.joined).loop().returns(None)
    for state in (idle, postponed, ended):
        state.upon(TransferInputs.command_failed).loop().returns(None)
        state.upon(TransferInputs.timed_out).loop().returns(None)
    for state in (idle, *in_progress, ended):
        state.upon(TransferInputs.taken_over).loop().returns(None)
        state.upon(TransferInputs.taken_over_too_early).loop().returns(None)
    for state in (postponed, *in_progress, ended):
        state.upon(TransferInputs.found_creating).loop().returns(None)
        state.upon(TransferInputs.found_ringing).loop().returns(None)
    for state in (idle, postponed, ended):
        state.upon(TransferInputs.leg_replaced).loop().returns(None)
    ended.upon(TransferInputs.call_ended).loop().returns(None)
    ended.upon(TransferInputs.detach).loop().returns(None)

    # Transitions with behaviour: a transfer that succeeds.

    def create(inputs: TransferInputs, core: TransferCore, request: TransferRequest) -> None:
        core.create_leg(inputs, request)

    for state in (idle, ringing):  # while it rings here, the target may have answered and transferred the call again
        pep614(state.upon(TransferInputs.requested).to(creating))(create)

    @pep614(creating.upon(TransferInputs.leg_entered).to(joining))
    def join(inputs: TransferInputs, core: TransferCore) -> None:
        core.join(inputs)

    @pep614(joining.upon(TransferInputs.joined).to(ringing))
    def dial(inputs: TransferInputs, core: TransferCore) -> None:
        core.deadline.start(core.call.ring_timeout + _EVENT_MARGIN, inputs.timed_out)
        core.steps.run(core.legs.dial_target(), failed=inputs.command_failed)

    for state in in_progress:  # call pick-up: another party answers for the target

        @pep614(state.upon(TransferInputs.leg_replaced).to(idle))
        def pick_up(inputs: TransferInputs, core: TransferCore) -> None:
            core.deadline.cancel()

    @pep614(ringing.upon(TransferInputs.leg_answered).to(idle))
    def complete(inputs: TransferInputs, core: TransferCore) -> None:
        core.deadline.cancel()
        core.joined()

    # A call that is being taken over.

    @pep614(idle.upon(TransferInputs.requested_early).to(postponed))
    def postpone(inputs: TransferInputs, core: TransferCore, request: TransferRequest) -> None:
        core.early_request = request

    @pep614(postponed.upon(TransferInputs.taken_over).to(creating))
    def begin_postponed(inputs: TransferInputs, core: TransferCore) -> None:
        request, core.early_request = core.early_request, None
        assert request is not None, "a postponed transfer was requested"
        core.create_leg(inputs, request)

    def refuse_postponed(inputs: TransferInputs, core: TransferCore) -> None:
        request, core.early_request = core.early_request, None
        assert request is not None, "a postponed transfer was requested"
        core.refuse(request)

    pep614(postponed.upon(TransferInputs.taken_over_too_early).to(idle))(refuse_postponed)
    pep614(postponed.upon(TransferInputs.call_ended).to(ended))(refuse_postponed)

    @pep614(idle.upon(TransferInputs.found_creating).to(creating))
    def continue_creating(inputs: TransferInputs, core: TransferCore) -> None:
        core.deadline.start(core.call.settings.setup_timeout, inputs.timed_out)

    @pep614(idle.upon(TransferInputs.found_ringing).to(ringing))
    def continue_ringing(inputs: TransferInputs, core: TransferCore) -> None:
        core.deadline.start(core.call.ring_timeout + _EVENT_MARGIN, inputs.timed_out)

    # A transfer that cannot be carried out.

    def refuse(inputs: TransferInputs, core: TransferCore, request: TransferRequest) -> None:
        core.refuse(request)

    for state in (creating, joining, postponed, ended):
        pep614(state.upon(TransferInputs.requested).loop())(refuse)
    for state in (postponed, *in_progress, ended):
        pep614(state.upon(TransferInputs.requested_early).loop())(refuse)

    def fail(inputs: TransferInputs, core: TransferCore) -> None:
        core.failed()

    def fail_redirected(inputs: TransferInputs, core: TransferCore, callee: str) -> None:
        core.failed()

    @pep614(ringing.upon(TransferInputs.redirected).to(creating))
    def redirect(inputs: TransferInputs, core: TransferCore, callee: str) -> None:
        core.redirect(inputs, callee)

    for state in everything:
        if state is not ringing:  # no other leg of an answered call has been dialled and not answered
            pep614(state.upon(TransferInputs.redirected).loop())(fail_redirected)
    for state in in_progress:
        pep614(state.upon(TransferInputs.command_failed).loop())(fail)
        pep614(state.upon(TransferInputs.timed_out).loop())(fail)

    # The end of the call.

    def end(inputs: TransferInputs, core: TransferCore) -> None:
        core.deadline.cancel()
        core.remove_placeholders()

    def detach(inputs: TransferInputs, core: TransferCore) -> None:
        core.deadline.cancel()

    for state in (idle, *in_progress):
        pep614(state.upon(TransferInputs.call_ended).to(ended))(end)
    for state in everything:
        if state is not ended:
            pep614(state.upon(TransferInputs.detach).to(ended))(detach)

    return build(builder)


transfer_machine = _make_machine()
"""Makes the transfer machine of one call, with the state ``idle``."""
