"""The events of a call's transfers, and what the transfer machine works with.

Asterisk replaces the leg that transfers the call in the bridge by a placeholder: one half of a Local channel, whose
other half enters the application with the target as argument.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from twisted.logger import Logger

from voxrec import sipuri
from voxrec.calls.call_data import CallData
from voxrec.calls.channels.legs import TRANSFER_CONTEXT, Legs
from voxrec.calls.channels.steps import Steps
from voxrec.calls.signalling.causes import Cause
from voxrec.deadline import Deadline

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
        self.await_creation(inputs)
        self.steps.run(
            self.legs.create_leg(placeholder=request.placeholder, replaces=request.replaces),
            failed=inputs.command_failed,
        )

    def redirect(self, inputs: TransferInputs, callee: str) -> None:
        """Create a leg to another SIP URI in place of the current leg, which is gone."""
        self.note(callee)
        self.legs.use_next_leg(callee)
        self.leg_replaced()
        self.await_creation(inputs)
        self.steps.run(self.legs.create_leg(placeholder=self.placeholder), failed=inputs.command_failed)

    def await_creation(self, inputs: TransferInputs) -> None:
        """Start the timer of the leg's creation."""
        self.deadline.start(self.call.settings.setup_timeout, inputs.timed_out)

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

    def dial(self, inputs: TransferInputs) -> None:
        """Call the target."""
        self.await_answer(inputs)
        self.steps.run(self.legs.dial_target(), failed=inputs.command_failed)

    def await_answer(self, inputs: TransferInputs) -> None:
        """Start the timer of the target's answer."""
        self.deadline.start(self.call.ring_timeout + _EVENT_MARGIN, inputs.timed_out)

    def take_early_request(self) -> TransferRequest:
        """Return the transfer that was postponed, which is not any more."""
        request, self.early_request = self.early_request, None
        assert request is not None, "a postponed transfer was requested"
        return request

    def remove_placeholders(self) -> None:
        """Hang up all placeholders: the call ends."""
        for placeholder in self.placeholders:
            self.steps.attempt(self.legs.hang_up(placeholder))
