"""RTP packets (RFC 3550 section 5.1) as Asterisk sends them, and the decoding of their audio."""

import struct
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

_HEADER: Final = struct.Struct("!BBHII")
_VERSION: Final = 2
_BIAS: Final = 0x84  # of mu-law (ITU-T G.711)

Samples = NDArray[np.int16]


class RtpPacket(NamedTuple):
    """The part of a packet that is needed to play it."""

    sequence: int
    source: int  # SSRC
    payload: bytes


def parse_rtp(datagram: bytes) -> RtpPacket | None:
    """Return the packet in a datagram; None if it is not RTP, such as RTCP (RFC 5761 section 4)."""
    if len(datagram) < _HEADER.size or datagram[0] >> 6 != _VERSION or 64 <= datagram[1] & 0x7F < 96:
        return None
    first, _, sequence, _, source = _HEADER.unpack_from(datagram)
    start = _HEADER.size + 4 * (first & 0x0F)  # the list of contributing sources
    if first & 0x10:  # an extension: 2 bytes of its profile, and 2 bytes of its length in words
        if len(datagram) < start + 4:
            return None
        start += 4 + 4 * int.from_bytes(datagram[start + 2 : start + 4], "big")
    padding = datagram[-1] if first & 0x20 else 0
    if start + padding > len(datagram):
        return None
    return RtpPacket(sequence, source, datagram[start : len(datagram) - padding])


class Encoding(NamedTuple):
    """A format in which Asterisk sends audio: its name in Asterisk, the rate in Hz, and bytes per sample."""

    name: str
    rate: int
    sample_size: int

    def decode(self, payload: bytes) -> Samples:
        """Return the samples of a payload; an incomplete last sample is dropped."""
        if self.sample_size == 1:
            return _MU_LAW[np.frombuffer(payload, dtype=np.uint8)]
        complete = len(payload) // 2 * 2
        return np.frombuffer(payload[:complete], dtype=">i2").astype(np.int16)


def _mu_law_table() -> Samples:
    codes = ~np.arange(256, dtype=np.uint8)
    magnitudes = ((((codes & 0x0F).astype(np.int32) << 3) + _BIAS) << ((codes & 0x70) >> 4)) - _BIAS
    return np.where(codes & 0x80, -magnitudes, magnitudes).astype(np.int16)


_MU_LAW: Final = _mu_law_table()
NARROWBAND: Final = Encoding("ulaw", 8000, 1)
"""G.711. Asterisk cannot send linear PCM of 8 kHz by RTP (``derive_format_from_cap`` in channels/chan_rtp.c)."""
WIDEBAND: Final = Encoding("slin16", 16000, 2)
"""Linear PCM in network byte order."""
