"""The person whom voxrec calls first when a client requests a call: a caller whose channel voxrec creates.

When the person has answered, the call continues as one from the trunk whose caller is answered already: its far end is
called, announced and recorded by the same machine.
"""

from collections.abc import Mapping
from typing import Final
from uuid import UUID, uuid4

from twisted.internet.defer import Deferred

from voxrec import sipuri
from voxrec.ari.client import AriClient, CommandResult
from voxrec.calls.call_data import CallData, InboundCall
from voxrec.calls.channels.ids import CALLER, owned_id, owner_of
from voxrec.calls.channels.legs import (
    DIAL_TIMEOUT_MARGIN,
    HANGUP_HANDLER,
    NO_TRANSFER_CONTEXT,
    REPORT_CONTEXT,
    TRANSFER_CONTEXT_VARIABLE,
)
from voxrec.calls.channels.takeover_state import CALL_VARIABLE, PLACED_VARIABLE, TakeoverState, encode
from voxrec.model import Profile
from voxrec.sanitize import sanitize_line

_MAX_NUMBER: Final = 255  # characters


class InvitedCaller:
    """Commands about the channel of the person before the far end is called."""

    def __init__(self, asterisk: AriClient, call: CallData) -> None:
        self._asterisk = asterisk
        self._call = call

    def create(self) -> CommandResult:
        """Create the channel, with all that another process needs to take over the call."""
        call, settings = self._call, self._call.settings
        trusted = settings.is_trusted(call.inbound.invited)
        return self._asterisk.create_channel(
            call.inbound.channel,
            f"PJSIP/{settings.trusted_endpoint if trusted else settings.endpoint}/{call.inbound.invited}",
            "caller",
            variables={
                **self._identities(),
                **{
                    f"PJSIP_HEADER(add,{name})": value
                    for name, value in call.inbound.hops.headers(call.profile.id).items()
                },
                "PJSIP_HEADER(add,X-Voxrec-Call)": str(call.id),
                "PJSIP_HEADER(add,X-Voxrec-Profile)": str(call.profile.id),
                **({} if self._asterisk.reports_status else {HANGUP_HANDLER: f"{REPORT_CONTEXT},s,1"}),
                TRANSFER_CONTEXT_VARIABLE: NO_TRANSFER_CONTEXT,
                CALL_VARIABLE: encode(TakeoverState.of_call(call)),
            },
        )

    def dial(self) -> CommandResult:
        """Call the person. Asterisk gives up later than voxrec, in case voxrec is gone."""
        timeout = round(self._call.ring_timeout) + DIAL_TIMEOUT_MARGIN
        return self._asterisk.dial(self._call.inbound.channel, timeout=timeout)

    def store_answer(self) -> Deferred[bool]:
        """Let a process that takes over the call know that its far end is being called, or was."""
        return self._asterisk.set_variable(self._call.inbound.channel, PLACED_VARIABLE, "1")

    def _identities(self) -> Mapping[str, str]:
        """Return the identity of the far end, which the person's telephone shows, and that of the person."""
        profile, inbound = self._call.profile, self._call.inbound
        number = profile.numbers[0] if profile.numbers else _user_of(self._call.callee)
        identities = {
            "CONNECTEDLINE(num,i)": number,
            "CONNECTEDLINE(name,i)": sanitize_line(profile.name or "").replace('"', ""),
            "CALLERID(num)": inbound.number,
        }
        return {variable: value for variable, value in identities.items() if value}


def invited_call(call_id: UUID, uri: str, profile: Profile) -> InboundCall:
    """Return the call of a person who is to be called at ``uri``, a valid SIP URI."""
    return InboundCall(
        channel=owned_id(call_id, CALLER),
        number=_user_of(uri),
        name="",
        dialled=str(profile.id),
        late_offer=True,  # the format of the person's audio is known after the answer only
        invited=uri,
    )


def new_call_id(inbound: InboundCall) -> UUID:
    """Return the id of a new call; the channel of a caller whom voxrec calls contains it already."""
    owner = owner_of(inbound.channel)
    return uuid4() if owner is None else owner[0]


def _user_of(uri: str) -> str:
    return (sipuri.parse(uri).user or "")[:_MAX_NUMBER]
