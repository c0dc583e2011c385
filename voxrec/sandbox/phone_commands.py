"""What a phone can be told to do during its call: one JSON object a line on its program's standard input."""

from typing import Literal, TypeAlias

import msgspec

Direction = Literal["sendrecv", "sendonly", "recvonly", "inactive"]
"""Which way sound is to flow, as the phone itself says it in its session description (RFC 3264, section 5.1)."""


class _Order(msgspec.Struct, frozen=True, tag=str.lower, tag_field="do"):
    pass


class Reinvite(_Order, frozen=True):
    """Send a re-INVITE: with a ``direction`` to hold or resume, without one to change nothing."""

    direction: Direction | None = None


class Dial(_Order, frozen=True):
    """Press keys: 0 to 9, A to D, * and #, as named events in the sound's own stream (RFC 4733)."""

    digits: str


class Transfer(_Order, frozen=True):
    """Send the other party to the SIP URI ``to`` (REFER, RFC 3515)."""

    to: str


class Consult(_Order, frozen=True):
    """Call the SIP URI ``to`` beside the call there is, which should be on hold."""

    to: str


class Join(_Order, frozen=True):
    """Send the other party to the one consulted (REFER with Replaces, RFC 5589 section 7)."""


Order: TypeAlias = Reinvite | Dial | Transfer | Consult | Join

_decoder: msgspec.json.Decoder[Order] = msgspec.json.Decoder(Order)


def encode_order(order: Order) -> str:
    """Return the order as one line, without its end."""
    return msgspec.json.encode(order).decode()


def decode_order(line: str | bytes) -> Order:
    """Read one line; msgspec.ValidationError or DecodeError where it is no order."""
    return _decoder.decode(line)
