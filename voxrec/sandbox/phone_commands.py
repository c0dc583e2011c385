"""Commands to a running phone: one JSON object per line on the standard input of `voxrec.sandbox.softphone`."""

from typing import Literal, TypeAlias

import msgspec

Direction = Literal["sendrecv", "sendonly", "recvonly", "inactive"]
"""The media direction that the phone offers in its session description (RFC 3264, section 5.1)."""


class _Command(msgspec.Struct, frozen=True, tag=True, tag_field="command"):
    pass


class Reinvite(_Command, frozen=True, tag="reinvite"):
    """Send a re-INVITE. With a ``direction`` it holds or resumes the call; without one it changes nothing."""

    direction: Direction | None = None


class SendDtmf(_Command, frozen=True, tag="send-dtmf"):
    """Send digits (0 to 9, A to D, * and #) as telephone events in the audio stream (RFC 4733)."""

    digits: str


class Transfer(_Command, frozen=True, tag="transfer"):
    """Transfer the other party to the SIP URI ``to`` without consultation (REFER, RFC 3515)."""

    to: str


class StartConsultation(_Command, frozen=True, tag="start-consultation"):
    """Call the SIP URI ``to`` in addition to the current call, which should be on hold."""

    to: str


class CompleteTransfer(_Command, frozen=True, tag="complete-transfer"):
    """Transfer the other party to the consulted phone (REFER with Replaces, RFC 5589 section 7)."""


PhoneCommand: TypeAlias = Reinvite | SendDtmf | Transfer | StartConsultation | CompleteTransfer

_decoder: msgspec.json.Decoder[PhoneCommand] = msgspec.json.Decoder(PhoneCommand)


def encode_command(command: PhoneCommand) -> str:
    """Return the command as one line of JSON without a line end."""
    return msgspec.json.encode(command).decode()


def decode_command(line: str | bytes) -> PhoneCommand:
    """Return the command in a line. Raises msgspec.DecodeError if the line is not a valid command."""
    return _decoder.decode(line)
