"""Routes each event from Asterisk to the call that it concerns, and opens a call for each accepted caller."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final
from urllib.parse import unquote

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from voxrec import sipuri
from voxrec.ari import events
from voxrec.ari.client import AriClient
from voxrec.calls.admission import Admission, Refusal
from voxrec.calls.call_data import InboundCall
from voxrec.calls.channels.ids import CALLER, is_leg, owner_of
from voxrec.calls.live_call import LiveCall
from voxrec.calls.live_calls import LiveCalls
from voxrec.calls.signalling.causes import Cause
from voxrec.calls.signalling.identity import Identity
from voxrec.calls.signalling.rtp_report import read_counters
from voxrec.calls.signalling.sip_status import LOOP_DETECTED, nearest_cause
from voxrec.calls.signalling.stasis_args import (
    INBOUND,
    TRANSFERRED,
    attempt_of,
    dialled_of,
    dialog_of,
    display_name,
    headers_of,
    hops_of,
    identity_of,
    is_late_offer,
    is_wideband,
    is_withheld,
    refer_target,
    replaced_dialog,
)
from voxrec.calls.transfers.replacements import ReplacingChannel
from voxrec.calls.transfers.transfer_core import TransferRequest, is_placeholder
from voxrec.errors import VoxrecError
from voxrec.model import Attempt, EventType, Profile, Side

_SUPERSEDED: Final = Refusal(
    Cause.ROUTING_ERROR, "another node has it, because this one responded late", status=LOOP_DETECTED
)
_MERGED: Final = Refusal(
    Cause.ROUTING_ERROR, "the same INVITE has arrived before, by another way", status=LOOP_DETECTED
)
_TRANSFERRED: Final = "Success"  # the result of a transfer that Asterisk has begun
LookUp = Callable[[str], Awaitable[None]]
"""Waits until the ProfileDirectory has the Profile for a dialled user part, if it can be found elsewhere."""


async def no_lookup(_dialled: str) -> None:
    """Find nothing."""


async def _no_reservation(_profile: Profile) -> bool | None:
    return None


async def _single_node(_attempt: Attempt) -> bool:
    return False


class Router:
    """Passes events to `LiveCalls`; an event that concerns no live call is ignored."""

    _log = Logger()

    def __init__(
        self,
        asterisk: AriClient,
        live_calls: LiveCalls,
        admission: Admission,
        look_up: LookUp = no_lookup,
        *,
        log_numbers: bool = False,
    ) -> None:
        self._asterisk = asterisk
        self._live_calls = live_calls
        self._admission = admission
        self._log_numbers = log_numbers
        self._look_up = look_up
        self.reserve: Callable[[Profile], Awaitable[bool | None]] = _no_reservation
        """Returns whether the maximum of a Profile permits a call, or None if that is not known. Does not raise."""
        self.is_superseded: Callable[[Attempt], Awaitable[bool]] = _single_node
        """Returns whether a SIP proxy has passed a call to another node after this one. Does not raise."""
        self.was_interrupted: Callable[[], bool] = lambda: False
        """Returns whether events may be late: Asterisk, or this process, did not run for a while until now."""
        self._undecided: dict[str, InboundCall] = {}  # those about which something is found out first (`_prepare`)

    def set_log_numbers(self, log_numbers: bool) -> None:
        """Change whether the log contains the numbers of the following calls."""
        self._log_numbers = log_numbers

    def handle(self, event: events.Event) -> None:
        """Handle one event."""
        if self._live_calls.detached:
            return
        match event:
            case events.StasisStart(channel, args, replaced):
                self._channel_entered(channel, args, replaced)
            case events.ChannelStateChange(channel) if channel.state == "Up":
                self._for_current_leg(channel.id, lambda call: call.inputs.leg_answered())
                self._for_invited(channel.id, lambda call: call.inputs.caller_answered())
            case events.ChannelStateChange(channel) if channel.state == "Ringing":
                self._for_current_leg(channel.id, lambda call: call.inputs.leg_rings())
            case events.StasisEnd(channel):
                self._undecided.pop(channel.id, None)
                self._for_caller(channel.id, lambda call: call.inputs.caller_left())
                if (of_leg := self._live_calls.of_leg(channel.id)) is not None:
                    of_leg.leg_left(channel.id)
            case events.ChannelDestroyed(channel):
                self._undecided.pop(channel.id, None)
                self._channel_destroyed(event)
            case events.ChannelUserevent(events.STATUS_EVENT, fields, events.Channel() as channel):
                self._for_leg(channel.id, lambda call: call.leg_refused(channel.id, fields.status_code))
                self._for_invited(channel.id, lambda call: call.caller_refused(fields.status_code))
            case events.ChannelUserevent(events.RTP_EVENT, fields, events.Channel() as channel):
                if (counters := read_counters(fields)) is not None:
                    self._for_party(channel.id, lambda call, side: call.rtp_reported(side, channel.id, counters))
            case events.Dial(peer, dialstatus, forward):
                self._leg_progressed(peer, dialstatus, forward)
            case events.ChannelDtmfReceived(channel, digit):
                self._for_party(channel.id, lambda call, side: call.digit_received(side, digit))
            case events.ChannelHold(channel):
                self._for_party(channel.id, lambda call, side: call.held(side))
            case events.ChannelUnhold(channel):
                self._for_party(channel.id, lambda call, side: call.unheld(side))
            case events.PlaybackFinished(playback):
                self._playback_finished(playback)
            case events.BridgeBlindTransfer(channel, result) | events.BridgeAttendedTransfer(channel, result):
                if result != _TRANSFERRED:
                    self._for_party(channel.id, lambda call, side: self._transfer_failed(call, side, result))
            case _:
                pass

    def _channel_destroyed(self, event: events.ChannelDestroyed) -> None:
        channel, cause = event.channel.id, event.cause
        if event.tech_cause:
            self._for_invited(channel, lambda call: call.caller_refused(event.tech_cause))
        self._for_caller(channel, lambda call: call.inputs.caller_hung_up(cause))
        if event.tech_cause:
            self._for_leg(channel, lambda call: call.leg_refused(channel, event.tech_cause))
        self._for_leg(channel, lambda call: call.leg_destroyed(channel, cause))

    def _leg_progressed(self, leg: events.Channel, status: str, forward: str) -> None:
        if forward:
            self._for_leg(leg.id, lambda call: call.leg_redirected(leg.id, forward))
        elif status == "PROGRESS":
            self._for_leg(leg.id, lambda call: call.leg_progressed(leg.id))

    # Channels that enter the application.

    def _channel_entered(self, channel: events.Channel, args: tuple[str, ...], replaced: events.Channel | None) -> None:
        owner = owner_of(channel.id)
        call = None if owner is None else self._live_calls.get(owner[0])
        if replaced is not None:
            self._count_packets(replaced.id)
        if args[:1] == (INBOUND,) and channel.is_inbound_call and owner is None:
            self.caller_entered(channel, args[1:])
        elif args[:1] == (TRANSFERRED,):
            self._transferred(channel, args[1:])
        elif replaced is not None and is_placeholder(channel.name):
            pass  # the half that Asterisk put into the bridge; the other half has the arguments
        elif replaced is not None and self._live_calls.replace_channel(
            replaced.id, ReplacingChannel(channel.id, channel.name, answered=channel.state == "Up")
        ):
            pass
        elif owner is not None and call is None:
            self._log.debug("ending channel {channel}: its call has ended meanwhile", channel=channel.id)
            self.hang_up(channel.id, Cause.NORMAL)
        elif owner is None or call is None:
            self._log.warn("ending channel {channel}, which belongs to no live call", channel=channel.id)
            self.hang_up(channel.id, Cause.NORMAL)
        elif owner[1] == CALLER:
            call.inputs.caller_entered()
        elif is_leg(owner[1]):
            call.leg_entered(channel.id, channel.name)
        else:
            call.snoop_entered(owner[1])

    def _count_packets(self, replaced: str) -> None:
        """Ask what was received on a channel that was replaced: the dialplan's report about it does not arrive."""
        of_caller = self._live_calls.of_caller(replaced)
        call, side = (of_caller, Side.CALLER) if of_caller else (self._live_calls.of_leg(replaced), Side.CALLEE)
        if call is not None:
            call.core.steps.attempt(call.core.recording.count_packets(side, replaced))

    def caller_entered(self, channel: events.Channel, args: tuple[str, ...] = ()) -> None:
        """Accept or refuse an inbound call; ``args`` are the arguments of Stasis behind ``incoming``."""
        if self._live_calls.of_caller(channel.id) is not None or channel.id in self._undecided:
            return  # reconciliation found it before
        known = Identity(channel.caller.number, channel.caller.name)
        identity = identity_of(args) or Identity(known.number, display_name(known.name))
        candidates = [
            _inbound_call(channel, args, identity, dialled) for dialled in dialled_of(channel.dialplan.exten, args)
        ]
        inbound, profile = self._decide(candidates)
        if self._is_merged(inbound):
            self._decided(inbound, _MERGED)
        elif inbound.attempt is not None and self.was_interrupted():
            reason = "this node was interrupted, and the SIP proxy may have passed the call to another one"
            self._decided(inbound, Refusal(Cause.CONGESTION, reason))
        elif identity == known and not _is_preliminary(inbound, profile):
            self._decided(inbound, profile)
        else:
            self._undecided[channel.id] = inbound
            Deferred.fromCoroutine(self._prepare(candidates, profile, None if identity == known else identity))

    def _is_merged(self, inbound: InboundCall) -> bool:
        """Return whether the INVITE of a live call has arrived again by another way (RFC 3261 section 8.2.2.2).

        A trunk that lets several numbers ring at the same time sends INVITEs that differ in the number only. A SIP
        proxy that passes calls to several nodes refuses merged INVITEs itself, and may come back to a node.
        """
        if not inbound.dialog or inbound.attempt is not None:
            return False
        undecided = any(other.dialog == inbound.dialog for other in self._undecided.values())
        return undecided or self._live_calls.of_dialog(inbound.dialog) is not None

    def _decide(
        self, candidates: Sequence[InboundCall], reserved: bool | None = None
    ) -> tuple[InboundCall, Profile | Refusal]:
        """Accept or refuse the first call whose Profile is known, or else the first one."""
        decisions = [(inbound, self._admission.decide(inbound, reserved)) for inbound in candidates]
        known = (each for each in decisions if not (isinstance(each[1], Refusal) and each[1].unknown_profile))
        return next(known, decisions[0])

    async def _prepare(
        self, candidates: Sequence[InboundCall], profile: Profile | Refusal, identity: Identity | None
    ) -> None:
        """Find out what a decision depends on, let Asterisk know the caller's identity, and decide again.

        Looks the Profile up if it is not known, looks whether another node has the call, and reserves a call if the
        Profile has a maximum. Does not decide if the caller has hung up meanwhile.
        """
        channel, attempt = candidates[0].channel, candidates[0].attempt
        superseded, reserved = False, None
        if isinstance(profile, Refusal) and profile.unknown_profile:
            await self._look_up_all(candidates)
            profile = self._decide(candidates)[1]
        if identity is not None:
            await self._set_identity(channel, identity)
        if isinstance(profile, Profile) and attempt is not None:
            superseded = await self.is_superseded(attempt)
        if isinstance(profile, Profile) and profile.max_calls is not None and not superseded:
            reserved = await self.reserve(profile)
        if channel in self._undecided and not self._live_calls.detached:
            del self._undecided[channel]
            inbound, profile = self._decide(candidates, reserved)
            self._decided(inbound, _SUPERSEDED if superseded else profile)

    async def _look_up_all(self, candidates: Sequence[InboundCall]) -> None:
        for inbound in candidates:
            try:
                await self._look_up(inbound.dialled)
            except Exception:
                self._log.failure("looking up a profile failed; the call is refused unless the profile is known now")

    async def _set_identity(self, channel: str, identity: Identity) -> None:
        """Let Asterisk present an identity to the far end that it could not read, or a name without quoted pairs."""
        try:
            await self._asterisk.set_variable(channel, "CALLERID(num)", identity.number)
            await self._asterisk.set_variable(channel, "CALLERID(name)", identity.name)
        except VoxrecError as error:
            self._log.warn("the far end does not get the caller's asserted identity: {error}", error=error)

    def _decided(self, inbound: InboundCall, profile: Profile | Refusal) -> None:
        if isinstance(profile, Refusal):
            self._log.info("refused a call{parties}: {reason}", parties=self._parties(inbound), reason=profile.reason)
            self.hang_up(inbound.channel, profile.cause, profile.status)
            self._live_calls.publish_refusal(profile.cause)
            return
        call = self._live_calls.open(inbound, profile)
        self._live_calls.publish(EventType.CALL_STARTED, call)
        call.inputs.begin()
        # logged last: writing a line takes as long as beginning the call, and the caller waits
        self._log.info(
            "call {call}: to Profile {profile}{parties}",
            call=call.id,
            profile=profile.id,
            parties=self._parties(inbound),
        )

    def _parties(self, inbound: InboundCall) -> str:
        """Return the numbers of a call for the log, if they may be logged: a log outlives the Recordings."""
        return f" from {inbound.number!r} to {inbound.dialled!r}" if self._log_numbers else ""

    def _transferred(self, placeholder: events.Channel, args: tuple[str, ...]) -> None:
        """Handle a transfer by the far end (etc/asterisk/extensions.conf, context voxrec-transfer)."""
        target, leg_name, replaces = (*(unquote(arg) for arg in args), "", "", "")[:3]
        call = self._live_calls.of_leg_channel_name(leg_name)
        callee = refer_target(target)
        if call is not None and callee is not None and self._admission.is_allowed(callee):
            call.transferred(TransferRequest(callee, placeholder.id, replaced_dialog(replaces)))
            return
        self._log.warn(
            "refused the transfer of {leg!r} to {host}: {reason}",
            leg=leg_name,
            host="an invalid URI" if callee is None else sipuri.parse(callee).host,
            reason="the target is not allowed" if call is not None else "the leg belongs to no live call",
        )
        self.hang_up(placeholder.id, Cause.REJECTED)
        if call is not None:
            call.inputs.transfer_forbidden()

    def _transfer_failed(self, call: LiveCall, side: Side, result: str) -> None:
        """Note that Asterisk itself has refused a transfer by a party, of which voxrec knows nothing else."""
        reason = (
            f"Asterisk reports {result}" if call.core.connection.is_connected else "the parties were not connected yet"
        )
        self._log.warn(
            "call {call}: a transfer by the {side} was refused, and the call continues: {reason}",
            call=call.id,
            side=side,
            reason=reason,
        )
        call.core.recording.transfer_refused(side, reason)

    # Which call an event concerns.

    def _for_caller(self, channel: str, handle: Callable[[LiveCall], None]) -> None:
        if (call := self._live_calls.of_caller(channel)) is not None:
            handle(call)

    def _for_invited(self, channel: str, handle: Callable[[LiveCall], None]) -> None:
        """Handle an event of a caller whom voxrec calls."""
        if (owner := owner_of(channel)) is not None and owner[1] == CALLER:
            self._for_caller(channel, handle)

    def _for_leg(self, channel: str, handle: Callable[[LiveCall], None]) -> None:
        if (call := self._live_calls.of_leg(channel)) is not None:
            handle(call)

    def _for_current_leg(self, channel: str, handle: Callable[[LiveCall], None]) -> None:
        if (call := self._live_calls.of_leg(channel)) is not None and call.leg == channel:
            handle(call)

    def _for_party(self, channel: str, handle: Callable[[LiveCall, Side], None]) -> None:
        self._for_caller(channel, lambda call: handle(call, Side.CALLER))
        self._for_current_leg(channel, lambda call: handle(call, Side.CALLEE))

    def _playback_finished(self, playback: events.Playback) -> None:
        owner = owner_of(playback.id)
        if owner is not None and (call := self._live_calls.get(owner[0])) is not None:
            call.playback_finished(owner[1], complete=playback.state == "done")

    def hang_up(self, channel: str, cause: Cause, status: int | None = None) -> None:
        """Hang up a channel that belongs to no live call, with a SIP status or the one that Asterisk maps to ``cause``.

        Failure is logged only: the next search for stale channels ends the channel.
        """
        Deferred.fromCoroutine(self._hang_up(channel, cause, status))

    async def _hang_up(self, channel: str, cause: Cause, status: int | None) -> None:
        try:
            if status is not None:
                await self._asterisk.refuse(channel, status, cause, nearest=nearest_cause(status))
            elif not await self._asterisk.hang_up(channel, cause):
                await self._asterisk.leave_application(channel)
        except VoxrecError as error:
            self._log.warn(
                "channel {channel} could not be ended and stays until the next search for stale channels: {error}",
                channel=channel,
                error=error,
            )


def _is_preliminary(inbound: InboundCall, decision: Profile | Refusal) -> bool:
    """Return whether a decision depends on what is not in memory: an unknown Profile, or calls on other nodes."""
    if isinstance(decision, Refusal):
        return decision.unknown_profile
    return decision.max_calls is not None or inbound.attempt is not None


def _inbound_call(channel: events.Channel, args: tuple[str, ...], identity: Identity, dialled: str) -> InboundCall:
    # a withheld number stays in Asterisk, which passes it on only to parties that the trunk trusts
    withheld = is_withheld(args)
    return InboundCall(
        channel=channel.id,
        number="" if withheld else identity.number[:255],
        name="" if withheld else identity.name[:255],
        dialled=dialled[:255],
        headers=headers_of(args),
        wideband=is_wideband(args),
        late_offer=is_late_offer(args),
        withheld=withheld,
        hops=hops_of(args),
        attempt=attempt_of(args),
        dialog=f"{dialog} {dialled}" if (dialog := dialog_of(args)) else "",
    )
