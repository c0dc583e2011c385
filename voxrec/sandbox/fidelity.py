"""Measures how much of each party's audio was heard by the other one and recorded, and where.

A position is compared with the time at which the piece was sent, so that the two channels of a recording can be
compared with each other although the parties began at different times.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from voxrec.sandbox.media_stream import MediaStream
from voxrec.sandbox.noise import FoundPiece, Samples16, find_pieces

DISPLACED_SECONDS: Final = 0.02
"""A piece further than this from where the others are is displaced."""
_FIRST: Final = 20  # pieces: the first 200 ms of what is heard
_FEW: Final = 50  # pieces: half a second, at the beginning and at the end, for the drift


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """One party's audio in a recording, or as the other party heard it. Times in milliseconds.

    ``sent``, ``found``, ``exact`` and ``displaced`` are numbers of pieces of 10 ms. ``offset`` is the median position
    of the pieces against the times at which they were sent; only differences of offsets have a meaning. ``drift`` is
    the change of the offset from the beginning to the end. ``snr_db`` is the median over the pieces that are not exact,
    infinite if there are none.
    """

    sent: int
    found: int
    exact: int
    displaced: int
    offset: float
    drift: float
    snr_db: float

    @property
    def missing(self) -> int:
        """The number of pieces that were sent and not found."""
        return self.sent - self.found


@dataclass(frozen=True, slots=True)
class HeardTrack:
    """What one party heard of the other one.

    The delay of a piece is the time in milliseconds from sending it to its arrival. ``first_delay`` is the median of
    the first 200 ms of audio, so that a single packet that a busy machine delays does not count; ``max_delay`` is the
    longest delay of a piece.
    """

    track: Track
    first_delay: float
    max_delay: float


def measure_track(stream: MediaStream, audio: Samples16, rate: int) -> Track:
    """Measure how much of what a party sent is in ``audio``, one channel of a recording at ``rate`` Hz."""
    return _track(stream, _found(stream, audio, rate))


def measure_heard(sender: MediaStream, listener: MediaStream) -> HeardTrack:
    """Measure what ``listener`` heard of what ``sender`` sent."""
    heard = listener.heard()
    found = _found(sender, heard.samples, heard.rate)
    delays = [heard.arrival_of(piece.seconds) - sender.piece_times[piece.index] for piece in found]
    first, longest = (float(np.median(delays[:_FIRST])), max(delays)) if delays else (float("nan"), float("nan"))
    return HeardTrack(_track(sender, found), first * 1000, longest * 1000)


def offset_between(left: Track, right: Track) -> float:
    """Return by how many milliseconds the right channel is later than the left one."""
    return right.offset - left.offset


def _found(stream: MediaStream, audio: Samples16, rate: int) -> list[FoundPiece]:
    pieces = find_pieces(stream.noise, stream.codec.rate, audio, rate)
    return [piece for piece in pieces if piece.index in stream.piece_times]


def _track(stream: MediaStream, found: list[FoundPiece]) -> Track:
    sent = stream.piece_times
    begin = min(sent.values(), default=0.0)
    offsets = np.array([piece.seconds - (sent[piece.index] - begin) for piece in found])
    median = float(np.median(offsets)) if found else float("nan")
    drift = float(np.median(offsets[-_FEW:]) - np.median(offsets[:_FEW])) if found else float("nan")
    inexact = [piece.snr_db for piece in found if not piece.exact]
    return Track(
        sent=len(sent),
        found=len(found),
        exact=sum(piece.exact for piece in found),
        displaced=int(np.count_nonzero(np.abs(offsets - median) > DISPLACED_SECONDS)),
        offset=(median - begin) * 1000,
        drift=drift * 1000,
        snr_db=float(np.median(inexact)) if inexact else float("inf"),
    )
