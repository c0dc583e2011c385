"""Typed ARI events, and the decoder of websocket messages.

Names and fields are those of Asterisk's ``rest-api/api-docs/events.json``. Only the events and fields that voxrec uses
are declared; the decoder ignores all others, so the definitions fit every Asterisk version from 16 on.
"""

import re
from typing import Final, TypeAlias

import msgspec
from msgspec import Struct

STATUS_EVENT: Final = "voxrec-status"
"""Name of the event with which the dialplan reports the SIP status of a leg that ends."""
RTP_EVENT: Final = "voxrec-rtp"
"""Name of the event with which the dialplan reports the RTP statistics of a channel that ends."""


class CallerId(Struct, frozen=True):
    """The name and number of a party; each is empty if Asterisk does not know it."""

    name: str = ""
    number: str = ""


class Dialplan(Struct, frozen=True):
    """The dialplan position of a channel. ``exten`` is the dialled number or name."""

    context: str = ""
    exten: str = ""


class Channel(Struct, frozen=True):
    """A channel. ``state`` is ``Down``, ``Ring``, ``Ringing``, ``Up``, and so on."""

    id: str
    name: str = ""
    state: str = ""
    caller: CallerId = CallerId()
    connected: CallerId = CallerId()
    dialplan: Dialplan = Dialplan()
    creationtime: str = ""

    @property
    def is_inbound_call(self) -> bool:
        """Whether it is a SIP call from outside that was not answered.

        Others are the halves of Local channels, snoop channels, SIP MESSAGE requests (``Message/ast_msg_queue``), and
        calls that Asterisk placed.
        """
        return self.name.startswith("PJSIP/") and self.state in ("Ring", "Ringing")


class Bridge(Struct, frozen=True):
    """A bridge. ``channels`` are the ids of the channels in it."""

    id: str
    name: str = ""
    channels: tuple[str, ...] = ()


class Playback(Struct, frozen=True):
    """A playback. ``state`` is ``queued``, ``playing``, ``continuing``, ``done`` or ``failed``."""

    id: str
    state: str = ""
    target_uri: str = ""


class _Event(Struct, frozen=True, tag=True, tag_field="type"):
    pass


class StasisStart(_Event, frozen=True):
    """A channel entered the Stasis application.

    ``replace_channel`` is the channel that it replaces in an attended transfer.
    """

    channel: Channel
    args: tuple[str, ...] = ()
    replace_channel: Channel | None = None


class StasisEnd(_Event, frozen=True):
    """A channel left the Stasis application."""

    channel: Channel


class ChannelStateChange(_Event, frozen=True):
    """The state of a channel changed: it rings, or was answered."""

    channel: Channel


class ChannelDestroyed(_Event, frozen=True):
    """A channel was destroyed. ``cause`` is a Q.850 cause code.

    ``tech_cause`` is the SIP status with which the call was refused; 0 in versions of Asterisk that do not report it.
    """

    channel: Channel
    cause: int = 0
    tech_cause: int = 0


class Dial(_Event, frozen=True):
    """The call to ``peer`` has progressed to ``dialstatus``, for example ``PROGRESS`` (early media).

    ``forward`` is the dial string to which the far end has redirected the call; Asterisk does not follow it.
    """

    peer: Channel
    dialstatus: str = ""
    forward: str = ""


class UserEvent(Struct, frozen=True):
    """The fields of an event of voxrec's dialplan.

    ``status`` is the SIP status with which a leg ended. ``received``, ``lost``, and the greatest and the mean jitter
    (in seconds), are the RTP statistics of a channel that ends.
    """

    status: str = ""
    received: str = ""
    lost: str = ""
    jitter: str = ""
    meanjitter: str = ""

    @property
    def status_code(self) -> int:
        """The status as a number; 0 if there is none."""
        return int(self.status) if re.fullmatch(r"[1-6][0-9]{2}", self.status) else 0


class ChannelUserevent(_Event, frozen=True):
    """The dialplan has sent an event (etc/asterisk/extensions.conf, context voxrec-report)."""

    eventname: str = ""
    userevent: UserEvent = UserEvent()
    channel: Channel | None = None


class ChannelDtmfReceived(_Event, frozen=True):
    """A party sent a DTMF digit."""

    channel: Channel
    digit: str = ""


class ChannelHold(_Event, frozen=True):
    """A party put the call on hold."""

    channel: Channel


class ChannelUnhold(_Event, frozen=True):
    """A party took the call off hold."""

    channel: Channel


class PlaybackFinished(_Event, frozen=True):
    """A playback ended. ``playback.state`` is ``done`` (also if it was stopped) or ``failed``."""

    playback: Playback


class BridgeBlindTransfer(_Event, frozen=True):
    """A party has sent REFER without Replaces, or with one for a dialog that this Asterisk does not have.

    ``result`` is ``Success``, ``Invalid`` (the parties are not connected), ``Not Permitted`` or ``Fail``.
    """

    channel: Channel
    result: str = ""


class BridgeAttendedTransfer(_Event, frozen=True):
    """A party has sent REFER with a Replaces for another dialog of this Asterisk; ``result`` as above."""

    transferer_first_leg: Channel
    result: str = ""


class ApplicationReplaced(_Event, frozen=True):
    """Another websocket registered the same application. This websocket receives no more events."""

    application: str = ""


class RestResponse(_Event, frozen=True, tag="RESTResponse"):
    """The response to a request that was sent over the websocket (Asterisk 22.4 and later)."""

    request_id: str = ""
    status_code: int = 0
    reason_phrase: str = ""
    message_body: str = ""


Event: TypeAlias = (
    StasisStart
    | StasisEnd
    | ChannelStateChange
    | ChannelDestroyed
    | ChannelUserevent
    | Dial
    | ChannelDtmfReceived
    | ChannelHold
    | ChannelUnhold
    | PlaybackFinished
    | BridgeBlindTransfer
    | BridgeAttendedTransfer
    | ApplicationReplaced
)


class _MessageType(Struct, frozen=True):
    type: str = ""


_HANDLED_TYPES = frozenset(
    str(message_class.__struct_config__.tag) for message_class in (*Event.__args__, RestResponse)
)
_type_decoder = msgspec.json.Decoder(_MessageType)
_message_decoder: msgspec.json.Decoder[Event | RestResponse] = msgspec.json.Decoder(Event | RestResponse)


class InvalidMessage(ValueError):
    """A websocket message does not conform to Asterisk's events.json."""


def decode_message(data: bytes) -> Event | RestResponse | None:
    """Decode one websocket message. Return None for a message type that voxrec does not handle.

    Raises `InvalidMessage` if ``data`` is not JSON, or has a field of the wrong type.
    """
    try:
        return _message_decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if _is_of_other_type(data):
            return None
        raise InvalidMessage(str(error)) from error


def _is_of_other_type(data: bytes) -> bool:
    """Return whether ``data`` is a message of a type that voxrec does not handle: rare, because of the event filter."""
    try:
        return _type_decoder.decode(data).type not in _HANDLED_TYPES
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def handled_message_types() -> frozenset[str]:
    """Return the ``type`` of every message that `decode_message` decodes."""
    return _HANDLED_TYPES
