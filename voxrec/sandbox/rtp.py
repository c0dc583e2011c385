"""RTP packets (RFC 3550), codecs of telephony (RFC 3551), and the schedule of an impaired stream. Pure functions."""

import io
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import soundfile
from G722 import G722

from voxrec.sandbox.noise import Samples16

_HEADER: Final = struct.Struct("!BBHII")
_VERSION: Final = 0x80
_MARKER: Final = 0x80
COMFORT_NOISE: Final = 13  # payload type (RFC 3389)
_TIMESTAMPS_PER_SECOND: Final = 8000  # also for G.722, by RFC 3551 section 4.5.2


@dataclass(frozen=True, slots=True)
class RtpPacket:
    """One RTP packet without extensions."""

    payload_type: int
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes
    marker: bool = False

    def pack(self) -> bytes:
        """Return the datagram."""
        second = self.payload_type | (_MARKER if self.marker else 0)
        header = _HEADER.pack(_VERSION, second, self.sequence & 0xFFFF, self.timestamp & 0xFFFFFFFF, self.ssrc)
        return header + self.payload

    @classmethod
    def parse(cls, datagram: bytes) -> Self | None:
        """Parse a datagram; None if it is not RTP without extensions, such as STUN or RTCP."""
        if len(datagram) < _HEADER.size or datagram[0] != _VERSION or 64 <= datagram[1] & 0x7F < 96:
            return None
        _, second, sequence, timestamp, ssrc = _HEADER.unpack_from(datagram)
        return cls(second & 0x7F, sequence, timestamp, ssrc, datagram[_HEADER.size :], bool(second & _MARKER))


@dataclass(frozen=True, slots=True)
class Codec:
    """A codec with a static payload type. ``rate`` is that of the audio in Hz."""

    name: str
    payload_type: int
    rate: int

    def encode(self, samples: Samples16) -> bytes:
        """Encode samples; one byte per sample, or per two samples with G.722."""
        if self.name == "G722":
            return bytes(G722(self.rate, 64000).encode(samples))
        file = io.BytesIO()
        soundfile.write(file, samples, self.rate, format="RAW", subtype=_SUBTYPES[self.name])
        return file.getvalue()

    def decode(self, payloads: bytes) -> Samples16:
        """Decode the payloads of successive packets."""
        if not payloads:
            return np.zeros(0, dtype=np.int16)
        if self.name == "G722":
            return np.frombuffer(G722(self.rate, 64000).decode(payloads), dtype=np.int16)
        samples: Samples16 = soundfile.read(
            io.BytesIO(payloads), samplerate=self.rate, channels=1, format="RAW", subtype=_SUBTYPES[self.name],
            dtype="int16",
        )[0]  # fmt: skip
        return samples


_SUBTYPES: Final = {"PCMU": "ULAW", "PCMA": "ALAW"}
PCMU: Final = Codec("PCMU", 0, 8000)
PCMA: Final = Codec("PCMA", 8, 8000)
G722_CODEC: Final = Codec("G722", 9, 16000)
CODECS: Final = {codec.payload_type: codec for codec in (PCMU, PCMA, G722_CODEC)}
BYTES_PER_SECOND: Final = 8000  # of each of these codecs


@dataclass(frozen=True, slots=True, kw_only=True)
class Impairments:
    """What happens to the packets of a stream on their way; times in seconds from the first packet.

    ``first_packet_delay``: time from the answer to the first packet. ``late_every`` and ``late_by``: each n-th packet
    arrives behind the ``late_by`` packets that follow it. ``jitter``: each packet is delayed by a random time up to
    this. ``duplicate_every``: each n-th packet arrives twice. ``lose_every``: each n-th packet is lost.
    ``timestamp_jump``: the position and the number of timestamps (8,000 per second) by which all following ones are
    greater. ``gaps``: start and end of each silence in which nothing is sent (DTX). ``new_source_at``: from then on
    SSRC, sequence numbers and timestamps are those of another source. ``clock_skew_ppm``: the sender's clock is slower
    by this many parts per million. ``comfort_noise``: the number of packets of comfort noise that precede the audio.
    ``wraps_at``: from then on sequence numbers and timestamps begin at 0 again, as they do in a call of hours.
    ``first_sequence``: the sequence number before the first packet; by default it is random, and less than 16,384.
    """

    first_packet_delay: float = 0.0
    late_every: int = 0
    late_by: int = 1
    jitter: float = 0.0
    duplicate_every: int = 0
    lose_every: int = 0
    timestamp_jump: tuple[float, int] | None = None
    gaps: tuple[tuple[float, float], ...] = ()
    new_source_at: float | None = None
    clock_skew_ppm: float = 0.0
    comfort_noise: int = 0
    wraps_at: float | None = None
    first_sequence: int | None = None
    seed: int = 1


NO_IMPAIRMENTS: Final = Impairments()


@dataclass(frozen=True, slots=True)
class ScheduledPacket:
    """A packet and its time in seconds from the beginning of the stream; ``index`` counts the packets of audio."""

    at: float
    index: int | None
    packet: RtpPacket


def schedule(payloads: Sequence[bytes], codec: Codec, impairments: Impairments) -> list[ScheduledPacket]:
    """Return the packets of a stream in the order and at the times at which they arrive.

    ``payloads`` are those of successive packets of audio; a payload's length determines its duration.
    """
    return _Scheduler(codec, impairments).schedule(payloads)


class _Scheduler:
    def __init__(self, codec: Codec, impairments: Impairments) -> None:
        self._codec = codec
        self._impairments = impairments
        self._random = np.random.default_rng(impairments.seed)
        self._new_source()

    def _new_source(self) -> None:
        self._ssrc, self._sequence, self._offset = (
            int(self._random.integers(1, limit)) for limit in (2**32, 2**14, 2**30)
        )
        if self._impairments.first_sequence is not None:
            self._sequence = self._impairments.first_sequence
        if self._impairments.wraps_at is not None:
            self._sequence = 2**16 - 1 - round(self._impairments.wraps_at / 0.02)  # packets of 20 ms
            self._offset = 2**32 - round(self._impairments.wraps_at * _TIMESTAMPS_PER_SECOND)

    def schedule(self, payloads: Sequence[bytes]) -> list[ScheduledPacket]:
        """See the function `schedule`."""
        sent = [*self._comfort_noise(), *self._audio(payloads)]
        arrived: list[ScheduledPacket] = []
        for number, scheduled in enumerate(sent, start=1):
            arrived.extend(self._impair(number, scheduled, sent))
        return sorted(arrived, key=lambda scheduled: scheduled.at)

    def _comfort_noise(self) -> list[ScheduledPacket]:
        count = self._impairments.comfort_noise
        packets = []
        for number in range(count):
            timestamp = self._offset - (count - number) * 160
            packet = RtpPacket(COMFORT_NOISE, self._next_sequence(), timestamp, self._ssrc, b"\x40")
            packets.append(ScheduledPacket((number - count) * 0.02, None, packet))
        return packets

    def _audio(self, payloads: Sequence[bytes]) -> list[ScheduledPacket]:
        impairments = self._impairments
        packets: list[ScheduledPacket] = []
        timestamp, first_after_gap, changed, jumped = 0, True, False, False
        for index, payload in enumerate(payloads):
            seconds = timestamp / _TIMESTAMPS_PER_SECOND
            if not changed and impairments.new_source_at is not None and seconds >= impairments.new_source_at:
                changed = True
                self._new_source()
            jump = impairments.timestamp_jump
            if not jumped and jump is not None and seconds >= jump[0]:
                jumped = True
                self._offset += jump[1]
            if any(start <= seconds < end for start, end in impairments.gaps):
                first_after_gap = True
            else:
                packet = RtpPacket(
                    self._codec.payload_type,
                    self._next_sequence(),
                    self._offset + timestamp,
                    self._ssrc,
                    payload,
                    marker=first_after_gap,
                )
                packets.append(ScheduledPacket(seconds * (1 + impairments.clock_skew_ppm / 1e6), index, packet))
                first_after_gap = False
            timestamp += len(payload)
        return packets

    def _next_sequence(self) -> int:
        self._sequence += 1
        return self._sequence

    def _impair(
        self, number: int, scheduled: ScheduledPacket, sent: Sequence[ScheduledPacket]
    ) -> list[ScheduledPacket]:
        impairments = self._impairments
        if impairments.lose_every and number % impairments.lose_every == 0:
            return []
        at = scheduled.at
        if impairments.late_every and number % impairments.late_every == 0:
            following = sent[number - 1 + impairments.late_by : number + impairments.late_by]
            at = following[0].at + 0.001 if following else at
        if impairments.jitter:
            at += float(self._random.uniform(0, impairments.jitter))
        arrived = [ScheduledPacket(at, scheduled.index, scheduled.packet)]
        if impairments.duplicate_every and number % impairments.duplicate_every == 0:
            arrived.append(ScheduledPacket(at + 0.001, scheduled.index, scheduled.packet))
        return arrived
