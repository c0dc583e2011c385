"""The bridge of one call and the outgoing legs to its far end."""

from collections.abc import Mapping
from typing import Final

from twisted.internet.defer import Deferred

from voxrec.ari.client import AriClient, BridgeMedia, CommandResult
from voxrec.calls.call_data import CallData
from voxrec.calls.channels.ids import BRIDGE, WAITING, leg_role, owned_id
from voxrec.calls.channels.resources import Resources
from voxrec.calls.channels.takeover_state import ANSWERED_VARIABLE, CALL_VARIABLE, TakeoverState, encode, generation_of
from voxrec.calls.signalling.causes import Cause
from voxrec.calls.signalling.sip_status import nearest_cause

TRANSFER_CONTEXT_VARIABLE: Final = "TRANSFER_CONTEXT"
"""Variable of a channel: the context of the targets to which its party can transfer the call."""
TRANSFER_CONTEXT: Final = "voxrec-transfer"
"""The context of transfers by the far end (etc/asterisk/extensions.conf)."""
NO_TRANSFER_CONTEXT: Final = "voxrec-nowhere"
"""A context that does not exist, so that Asterisk refuses transfers by the caller."""
_JITTER_BUFFER: Final = "JITTERBUFFER(adaptive)"
_DEFAULT_SIZE: Final = "default"  # 200 ms at most, 40 ms more than the jitter
DIAL_TIMEOUT_MARGIN: Final = 30  # seconds
_FORWARDED: Final = 181
_SILENT_RESPONSES: Final = frozenset({_FORWARDED, 182, 183})  # forwarded, queued, and session progress
HANGUP_HANDLER: Final = "CHANNEL(hangup_handler_push)"
REPORT_CONTEXT: Final = "voxrec-report"  # etc/asterisk/extensions.conf
_IDENTITY_HEADERS: Final = frozenset({"p-asserted-identity", "p-preferred-identity", "remote-party-id"})


class Legs:
    """Commands about the bridge, the caller's channel and the outgoing legs.

    A call has one current leg. A transfer replaces it by a leg with a higher number, or by a channel that voxrec did
    not create.
    """

    def __init__(self, asterisk: AriClient, call: CallData, resources: Resources, taken: TakeoverState | None) -> None:
        """``taken`` is the state of a taken-over call."""
        self._asterisk = asterisk
        self._call = call
        self._resources = resources
        self.current = (taken.leg if taken is not None else "") or owned_id(call.id, leg_role(1))
        """The channel id of the current leg."""
        self.channel_name = ""
        """Asterisk's name for the channel of the current leg; empty before the leg has entered the application."""
        self.refusal_status = 0
        """The SIP status for the caller of a leg that was refused; 0: the one to which Asterisk maps its cause."""
        self.has_progressed = False
        """Whether the far end has reported progress with media, such as an announcement."""
        self._generation = 1 if taken is None else generation_of(taken)
        self._detached = False

    def detach(self) -> None:
        """Leave the caller to another process."""
        self._detached = True

    @property
    def has_caller(self) -> bool:
        """Whether the caller's channel exists, as far as is known, and this process has the call.

        What takes several commands asks it before each one about the caller, who may have hung up meanwhile.
        """
        return self._call.inbound.channel in self._resources and not self._detached

    @property
    def bridge(self) -> str:
        """The id of the bridge."""
        return owned_id(self._call.id, BRIDGE)

    @property
    def can_pipeline(self) -> bool:
        """Whether a command can be sent before the response to the one on which it depends."""
        return self._asterisk.executes_in_order

    def create_bridge(self) -> CommandResult:
        """Create the bridge.

        Without "processed", Asterisk forwards RTP packets until the recording begins: it changes the technology of the
        bridge twice during the answer, and the sequence numbers that a far end sees jump, for which some versions of
        Asterisk write silence (docs/asterisk.md).
        """
        media: BridgeMedia = "processed" if self._call.profile.record else "forwarded"
        return self._asterisk.create_bridge(self.bridge, f"voxrec {self._call.id}", media=media)

    async def let_caller_wait(self) -> None:
        """Put the caller alone into a bridge of its own, in which it executes commands at once."""
        await self._asterisk.create_bridge(self._waiting_bridge, f"voxrec {self._call.id} waiting", media="processed")
        if self.has_caller:
            await self._asterisk.add_to_bridge(self._waiting_bridge, (self._call.inbound.channel,))

    def destroy_waiting_bridge(self) -> Deferred[bool]:
        """Destroy the bridge in which the caller has waited. Return whether it existed."""
        return self._asterisk.destroy_bridge(self._waiting_bridge)

    @property
    def _waiting_bridge(self) -> str:
        return owned_id(self._call.id, WAITING)

    def use_next_leg(self, callee: str) -> None:
        """Make the leg with the next number the current one; it is to call ``callee``, a SIP URI."""
        self._call.callee = callee
        self._generation += 1
        self.refusal_status, self.has_progressed = 0, False
        self.current = owned_id(self._call.id, leg_role(self._generation))

    def use_channel(self, channel: str, name: str) -> None:
        """Make a channel the current leg that voxrec did not create; ``name`` is Asterisk's name for it."""
        self._resources.add(channel)
        self.current, self.channel_name = channel, name

    def store_state(self, placeholder: str) -> Deferred[bool]:
        """Store in the current leg what another process needs, because the leg or the caller's channel was replaced."""
        self._generation += 1
        return self._asterisk.set_variable(self.current, CALL_VARIABLE, self._encoded_state(placeholder))

    def create_leg(self, *, placeholder: str = "", replaces: str = "") -> CommandResult:
        """Create the channel of the current leg, with all that another process needs to take over the call.

        ``placeholder`` is the channel that holds the far end's place in the bridge during a transfer, ``replaces`` the
        dialog that the leg is to replace (RFC 3891).
        """
        call, settings = self._call, self._call.settings
        trusted = settings.is_trusted(call.callee)
        self._resources.add(self.current)
        return self._asterisk.create_channel(
            self.current,
            f"PJSIP/{settings.trusted_endpoint if trusted else settings.endpoint}/{call.callee}",
            "leg",
            originator=call.inbound.channel,
            variables={
                **{f"PJSIP_HEADER(add,{name})": value for name, value in self._headers(trusted=trusted).items()},
                "PJSIP_HEADER(add,X-Voxrec-Call)": str(call.id),
                "PJSIP_HEADER(add,X-Voxrec-Profile)": str(call.profile.id),
                "PJSIP_HEADER(add,X-Voxrec-Dialled)": call.inbound.dialled,
                HANGUP_HANDLER: f"{REPORT_CONTEXT},{'rtp' if self._asterisk.reports_status else 's'},1",
                TRANSFER_CONTEXT_VARIABLE: TRANSFER_CONTEXT,
                # Asterisk sends it as the header Replaces
                **({"SIPREPLACESHDR": replaces} if replaces else {}),
                **({_JITTER_BUFFER: _DEFAULT_SIZE} if self.needs_jitter_buffer else {}),
                CALL_VARIABLE: self._encoded_state(placeholder),
            },
        )

    def _encoded_state(self, placeholder: str) -> str:
        return encode(
            TakeoverState.of_call(self._call, leg=self.current, placeholder=placeholder, generation=self._generation)
        )

    def _headers(self, *, trusted: bool) -> Mapping[str, str]:
        """Return the headers that are copied from the caller's INVITE, and those that limit loops.

        An untrusted far end gets no asserted identity (RFC 3325 section 5), and nothing of a caller whose number is
        withheld: any header may name it.
        """
        inbound = self._call.inbound
        copied = {
            name: value
            for name, value in inbound.headers.items()
            if trusted or not (inbound.withheld or name.lower() in _IDENTITY_HEADERS)
        }
        return {**copied, **inbound.hops.headers(self._call.profile.id)}

    def join_caller(self) -> CommandResult:
        """Put the caller into the bridge."""
        return self._asterisk.add_to_bridge(self.bridge, (self._call.inbound.channel,))

    def join(self) -> CommandResult:
        """Put the current leg into the bridge."""
        return self._asterisk.add_to_bridge(self.bridge, (self.current,))

    def dial(self) -> CommandResult:
        """Call the far end through the first leg. Asterisk gives up later than voxrec, in case voxrec is gone."""
        return self._dial(round(self._call.ring_timeout) + DIAL_TIMEOUT_MARGIN)

    def dial_target(self) -> CommandResult:
        """Call the target of a transfer through the current leg. Asterisk gives up after the ring timeout."""
        return self._dial(round(self._call.ring_timeout))

    def _dial(self, timeout: int) -> CommandResult:
        return self._asterisk.dial(self.current, caller=self._call.inbound.channel, timeout=timeout)

    async def is_silent(self) -> bool:
        """Return whether the last response of the far end promises an answer, but lets the caller hear nothing.

        Asterisk reports neither 181 nor 182 nor 183 without SDP. The caller gets a 181.
        """
        if self.has_progressed or not self.channel_name:
            return False
        status = await self._asterisk.last_response(self.current, self.channel_name)
        if status == _FORWARDED:
            # a change of this variable is sent to an unanswered caller as 181 (chan_pjsip_indicate in chan_pjsip.c)
            await self._asterisk.set_variable(self._call.inbound.channel, "REDIRECTING(reason)", "unknown")
        return status in _SILENT_RESPONSES

    def ring_caller(self) -> CommandResult:
        """Let the caller's network play a ringing tone."""
        return self._asterisk.ring(self._call.inbound.channel)

    @property
    def needs_jitter_buffer(self) -> bool:
        """Whether what arrives late or out of order is to be put in order before it is recorded."""
        return self._call.settings.jitter_buffer and self._call.profile.record

    def buffer_caller(self) -> Deferred[bool]:
        """Give the caller's channel a jitter buffer; the outgoing legs have one from the beginning."""
        return self._asterisk.set_variable(self._call.inbound.channel, _JITTER_BUFFER, _DEFAULT_SIZE)

    def answer_caller(self) -> CommandResult:
        """Answer the caller; see `voxrec.calls.channels.caller_connection`. One whom voxrec has called has answered."""
        if self._call.inbound.invited:
            return self._asterisk.stop_ringing(self._call.inbound.channel)
        return self._asterisk.answer(self._call.inbound.channel)

    def store_answer(self) -> Deferred[bool]:
        """Let a process that takes over the call know when it was answered; a recording says that otherwise."""
        answered_at = self._call.answered_at
        assert answered_at is not None, "the call was answered"
        return self._asterisk.set_variable(self._call.inbound.channel, ANSWERED_VARIABLE, answered_at.isoformat())

    def hang_up(self, channel: str, cause: int = Cause.NORMAL) -> Deferred[bool]:
        """Hang up any channel of the call. Return whether it existed."""
        return self._asterisk.hang_up(channel, cause)

    def refuse_caller(self, status: int, cause: int, *, in_bridge: bool) -> Deferred[bool]:
        """Answer the caller with a SIP status of 400 or above. Return whether its channel existed."""
        return self._asterisk.refuse(
            self._call.inbound.channel, status, cause, nearest=nearest_cause(status), in_bridge=in_bridge
        )

    def destroy_bridge(self) -> Deferred[bool]:
        """Destroy the bridge. Return whether it existed."""
        return self._asterisk.destroy_bridge(self.bridge)
