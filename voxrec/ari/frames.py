"""Websocket frames of unfragmented text messages (RFC 6455, section 5.2), which nearly all frames of ARI are."""

from random import getrandbits
from typing import Final

_TEXT: Final = 0x81  # the last frame of a text message, which is not fragmented
_SIZE_16: Final = 126  # the size follows in two bytes
_SIZE_64: Final = 127  # the size follows in eight bytes
_MASKED: Final = 0x80
_MASK_SIZE: Final = 4


def next_text(data: bytes, start: int) -> tuple[bytes, int] | None:
    """Return the text message whose frame begins at ``start``, and the position after it.

    None if there is another frame, or an incomplete, masked or invalid one, or one of more than 65,535 bytes.
    """
    available = len(data) - start
    if available < 2 or data[start] != _TEXT:
        return None
    size, header = data[start + 1], 2
    if size == _SIZE_16:
        size, header = int.from_bytes(data[start + 2 : start + 4], "big"), 4
        if size < _SIZE_16:
            return None
    elif size > _SIZE_16:
        return None
    if available < header + size:
        return None
    end = start + header + size
    return data[start + header : end], end


def encode_text(message: bytes) -> bytes:
    """Return the frame of a text message from a client, which is masked (RFC 6455, section 5.3)."""
    size, mask = len(message), getrandbits(8 * _MASK_SIZE)
    if size < _SIZE_16:
        header = bytes((_TEXT, _MASKED | size))
    elif size < 1 << 16:
        header = bytes((_TEXT, _MASKED | _SIZE_16)) + size.to_bytes(2, "big")
    else:
        header = bytes((_TEXT, _MASKED | _SIZE_64)) + size.to_bytes(8, "big")
    key = mask.to_bytes(_MASK_SIZE, "big")
    # all bytes at once: the key is repeated as often as necessary
    keys = (key * (size // _MASK_SIZE + 1))[:size]
    masked = int.from_bytes(message, "big") ^ int.from_bytes(keys, "big")
    return header + key + masked.to_bytes(size, "big")
