"""Sends recognisable audio as RTP, impaired as required, and records what arrives. Both run in threads.

The threads keep the times of the packets independent of the reactor, which may be busy with the test.
"""

import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from voxrec.sandbox.asterisk import LOOPBACK
from voxrec.sandbox.noise import PIECE_SECONDS, Samples16, make_noise
from voxrec.sandbox.rtp import (
    BYTES_PER_SECOND,
    CODECS,
    NO_IMPAIRMENTS,
    PCMU,
    Codec,
    Impairments,
    RtpPacket,
    ScheduledPacket,
    schedule,
)

_RECEIVE_TIMEOUT: Final = 0.2  # seconds after which a receiving thread looks whether it is to end
_BUSY_SECONDS: Final = 0.001  # before a packet is due, in which the sending thread does not sleep


@dataclass(frozen=True, slots=True)
class ReceivedPacket:
    """A packet and the time of its arrival (`time.monotonic`)."""

    at: float
    packet: RtpPacket


@dataclass(frozen=True, slots=True)
class HeardAudio:
    """What a phone with a perfect jitter buffer heard: each packet once, in the order of the sequence numbers.

    ``arrivals`` are the times (`time.monotonic`) at which each packet arrived, ``positions`` the first sample of each.
    """

    samples: Samples16
    rate: int
    positions: tuple[int, ...]
    arrivals: tuple[float, ...]

    def arrival_of(self, seconds: float) -> float:
        """Return the time at which the packet with the audio at a position in seconds arrived."""
        packet = int(np.searchsorted(self.positions, round(seconds * self.rate), side="right")) - 1
        return self.arrivals[max(0, packet)]


class MediaStream:
    """The media of one party: a UDP port at ``address``, audio to send, and the packets that were received.

    ``seconds`` is the length of the audio, ``ptime`` the duration of a packet in milliseconds. Different ``seed``s
    give different noise.
    """

    def __init__(
        self,
        *,
        seed: int,
        seconds: float,
        codec: Codec = PCMU,
        ptime: int = 20,
        impairments: Impairments = NO_IMPAIRMENTS,
        address: str = LOOPBACK,
    ) -> None:
        self.codec = codec
        self.ptime = ptime
        self.impairments = impairments
        self.received: list[ReceivedPacket] = []
        """All packets of RTP that arrived, in this order."""
        self.piece_times: dict[int, float] = {}
        """The time (`time.monotonic`) at which each piece was sent, or would have been without impairment."""
        self._seed, self._seconds, self._address = seed, seconds, address
        self._socket = self._bind()
        self._target: tuple[str, int] | None = None
        self._ended = threading.Event()
        self._threads: list[threading.Thread] = []
        self._prepare()

    def _prepare(self) -> None:
        encoded = self.codec.encode(self.make_audio())
        self.noise = self.codec.decode(encoded)
        """The audio as the other party can hear it at best: after encoding and decoding."""
        size = BYTES_PER_SECOND * self.ptime // 1000
        payloads = [encoded[start : start + size] for start in range(0, len(encoded), size)]
        self._schedule = schedule(payloads, self.codec, self.impairments)

    def make_audio(self) -> Samples16:
        """Return the audio to send, at the rate of the codec."""
        return make_noise(self._seconds, self.codec.rate, self._seed)

    def use_codec(self, codec: Codec) -> None:
        """Use the codec that was agreed; before the stream begins."""
        if codec != self.codec:
            self.codec = codec
            self._prepare()

    def _bind(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._address else socket.AF_INET
        opened = socket.socket(family, socket.SOCK_DGRAM)
        opened.bind((self._address, 0))
        opened.settimeout(_RECEIVE_TIMEOUT)
        return opened

    @property
    def port(self) -> int:
        """The UDP port on which media are received, and from which they are sent."""
        port: int = self._socket.getsockname()[1]
        return port

    @property
    def started(self) -> bool:
        """Whether `send` was called."""
        return any(thread.name == "send" for thread in self._threads)

    def listen(self) -> None:
        """Start to receive."""
        self._run("receive", self._receive, self._socket)

    def move_to_new_port(self) -> None:
        """Send from, and receive on, another port from now on; what arrives at the old one is still recorded."""
        self._socket = self._bind()
        self.listen()

    def direct(self, target: tuple[str, int] | None) -> None:
        """Send to ``target`` from now on; None sends nothing, as during hold."""
        self._target = target

    def send(self, target: tuple[str, int]) -> None:
        """Start to send, when the delay of the first packet has passed."""
        self.direct(target)
        self._run("send", self._send, time.monotonic())

    def close(self) -> None:
        """End both threads."""
        self._ended.set()
        for thread in self._threads:
            thread.join()
        self._socket.close()

    def _run(self, name: str, function: Callable[[Any], None], argument: object) -> None:
        thread = threading.Thread(target=function, args=(argument,), name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _receive(self, opened: socket.socket) -> None:
        while not self._ended.is_set():
            try:
                datagram = opened.recv(2048)
            except TimeoutError:
                continue
            now = time.monotonic()
            if (packet := RtpPacket.parse(datagram)) is not None:
                self.received.append(ReceivedPacket(now, packet))

    def _send(self, answered: float) -> None:
        impairments = self.impairments
        begin = answered + impairments.first_packet_delay
        for scheduled in self._schedule:
            due = begin + scheduled.at
            if self._ended.wait(max(0.0, due - time.monotonic() - _BUSY_SECONDS)):
                return
            while time.monotonic() < due:
                time.sleep(0)
            if (target := self._target) is not None:
                self._note_pieces(begin, scheduled)
                self._socket.sendto(scheduled.packet.pack(), target)

    def _note_pieces(self, begin: float, scheduled: ScheduledPacket) -> None:
        if scheduled.index is None:
            return
        pieces = round(self.ptime / 1000 / PIECE_SECONDS)
        total = round(len(self.noise) / self.codec.rate / PIECE_SECONDS)
        for piece in range(scheduled.index * pieces, min(total, (scheduled.index + 1) * pieces)):
            seconds = piece * PIECE_SECONDS * (1 + self.impairments.clock_skew_ppm / 1e6)
            self.piece_times[piece] = begin + seconds

    def heard(self) -> HeardAudio:
        """Return what this party heard. Without any packet of a known codec it is empty."""
        codec = next(
            (CODECS[each.packet.payload_type] for each in self.received if each.packet.payload_type in CODECS), PCMU
        )
        packets: dict[tuple[int, int], ReceivedPacket] = {}
        order: list[int] = []  # the sources, in the order in which they appeared
        last: dict[int, int] = {}
        for received in self.received:
            packet = received.packet
            if packet.payload_type != codec.payload_type:
                continue
            if packet.ssrc not in last:
                order.append(packet.ssrc)
                last[packet.ssrc] = packet.sequence
            number = _extended(packet.sequence, last[packet.ssrc])
            last[packet.ssrc] = max(last[packet.ssrc], number)
            packets.setdefault((order.index(packet.ssrc), number), received)
        in_order = [packets[key] for key in sorted(packets)]
        samples_per_byte = codec.rate // BYTES_PER_SECOND
        sizes = [len(each.packet.payload) * samples_per_byte for each in in_order]
        return HeardAudio(
            codec.decode(b"".join(each.packet.payload for each in in_order)),
            codec.rate,
            tuple(int(position) for position in np.cumsum([0, *sizes])[:-1]),
            tuple(each.at for each in in_order),
        )


def _extended(sequence: int, last: int) -> int:
    """Return the number of a packet that counts over 65,535, next to the number ``last``."""
    return last + (sequence - last + 0x8000) % 0x10000 - 0x8000
