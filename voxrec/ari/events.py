"""What Asterisk tells: the events that voxrec acts on, typed.

Names and fields are Asterisk's own (its ``rest-api/events.json``). Fields that voxrec does not use are left out, and
unknown ones are passed over, so that every Asterisk from 16 on fits.
"""

from typing import TypeAlias

import msgspec
from msgspec import Struct


class CallerId(Struct, frozen=True):
    """A party's name and number, empty where Asterisk knows none."""

    name: str = ""
    number: str = ""


class Dialplan(Struct, frozen=True):
    """Where in the dialplan a channel stands; ``exten`` is what was dialled."""

    context: str = ""
    exten: str = ""


class Channel(Struct, frozen=True):
    """A channel; ``state`` is Down, Ring, Ringing, Up ..."""

    id: str
    name: str = ""
    state: str = ""
    caller: CallerId = CallerId()
    connected: CallerId = CallerId()
    dialplan: Dialplan = Dialplan()
    creationtime: str = ""


class Bridge(Struct, frozen=True):
    """A bridge and the ids of the channels in it."""

    id: str
    name: str = ""
    channels: tuple[str, ...] = ()


class Playback(Struct, frozen=True):
    """A playback; ``state`` is queued, playing, done or failed."""

    id: str
    state: str = ""
    target_uri: str = ""


class LiveRecording(Struct, frozen=True):
    """A recording while it runs; ``cause`` says why it failed."""

    name: str
    state: str = ""
    cause: str = ""


class _Event(Struct, frozen=True, tag=True, tag_field="type"):
    pass


class StasisStart(_Event, frozen=True):
    """A channel is voxrec's from here on, in place of ``replace_channel`` where that was transferred."""

    channel: Channel
    args: tuple[str, ...] = ()
    replace_channel: Channel | None = None


class StasisEnd(_Event, frozen=True):
    """A channel has left voxrec."""

    channel: Channel


class ChannelStateChange(_Event, frozen=True):
    """A channel began to ring, or was answered."""

    channel: Channel


class ChannelDestroyed(_Event, frozen=True):
    """A channel is gone; ``cause`` is a Q.850 cause code."""

    channel: Channel
    cause: int = 0


class ChannelDtmfReceived(_Event, frozen=True):
    """A party pressed a key."""

    channel: Channel
    digit: str = ""


class ChannelHold(_Event, frozen=True):
    """A party put the call on hold."""

    channel: Channel


class ChannelUnhold(_Event, frozen=True):
    """A party resumed the call."""

    channel: Channel


class PlaybackFinished(_Event, frozen=True):
    """A sound was played to its end, was stopped, or failed: ``playback.state`` tells."""

    playback: Playback


class RecordingStarted(_Event, frozen=True):
    """The proof that a recording runs; the answer to the request is none."""

    recording: LiveRecording


class RecordingFinished(_Event, frozen=True):
    """A recording's file is closed. Only the file itself tells what it holds."""

    recording: LiveRecording


class RecordingFailed(_Event, frozen=True):
    """A recording could not run."""

    recording: LiveRecording


class ApplicationReplaced(_Event, frozen=True):
    """Another websocket took the application over; this one gets no more events."""

    application: str = ""


class RestResponse(_Event, frozen=True, tag="RESTResponse"):
    """The answer to a request sent over the websocket (Asterisk 22.4 and later)."""

    request_id: str = ""
    status_code: int = 0
    reason_phrase: str = ""
    message_body: str = ""


Event: TypeAlias = (
    StasisStart
    | StasisEnd
    | ChannelStateChange
    | ChannelDestroyed
    | ChannelDtmfReceived
    | ChannelHold
    | ChannelUnhold
    | PlaybackFinished
    | RecordingStarted
    | RecordingFinished
    | RecordingFailed
    | ApplicationReplaced
)


class _Head(Struct, frozen=True):
    type: str = ""


_WANTED = frozenset(kind.__struct_config__.tag for kind in (*Event.__args__, RestResponse))
_head = msgspec.json.Decoder(_Head)
_event: msgspec.json.Decoder[Event | RestResponse] = msgspec.json.Decoder(Event | RestResponse)


class NotAnEvent(ValueError):
    """The text is not a message that Asterisk's events.json allows; the message says why."""


def decode(text: bytes) -> Event | RestResponse | None:
    """Read one websocket message; None where it is an event that voxrec does not act on."""
    try:
        if _head.decode(text).type not in _WANTED:
            return None
        return _event.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NotAnEvent(str(error)) from error


def wanted_types() -> frozenset[str]:
    """The ``type`` of each message that `decode` gives back."""
    return frozenset(str(tag) for tag in _WANTED)
