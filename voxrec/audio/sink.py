"""Writing: samples in blocks to a new file of any known format, and their rate on the way."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr

from voxrec.audio.formats import G722, G726, RAW, WAV, Format
from voxrec.audio.pcm_wav import write_raw, write_wav
from voxrec.audio.raw_codecs import BehindAuHeader, G722Sink
from voxrec.audio.source import Samples, endian_of, explained


def write(given: Iterable[Samples], output: Path, rate: int, channels: int, form: Format) -> None:
    """Write blocks shaped (frames, channels), at a ``rate`` that ``form`` can have, to ``output``.

    Raises OSError where the file cannot be written, AudioFault where libsndfile refuses or the format cannot hold it
    all; a part of it may remain.
    """
    if form.subtype == G722:
        _write_g722(given, output)
    elif form.headerless and form.subtype == WAV.subtype:
        write_raw(given, output)
    elif (form.container, form.subtype) == (WAV.container, WAV.subtype):
        write_wav(given, output, rate, channels)
    else:
        _encode(given, output, rate, channels, form)


def _write_g722(given: Iterable[Samples], output: Path) -> None:
    with output.open("wb") as file:
        sink = G722Sink(file)
        for block in given:
            sink.write(block)


def _encode(given: Iterable[Samples], output: Path, rate: int, channels: int, form: Format) -> None:
    try:
        with _created(output, rate, channels, form) as sound:
            for block in given:
                # 32 bits for every format: given 16-bit samples, libsndfile up to 1.2.2 turns half of a stereo MP3
                # into noise (libsndfile#1106)
                sound.write(np.left_shift(block, 16, dtype=np.int32))
    except soundfile.LibsndfileError as error:
        raise explained(output, error) from error


def _created(output: Path, rate: int, channels: int, form: Format) -> soundfile.SoundFile:
    if form.subtype == G726:
        return soundfile.SoundFile(BehindAuHeader(output, "w", rate), "w", rate, 1, form.subtype, format="AU")
    container = RAW if form.headerless else form.container
    return soundfile.SoundFile(output, "w", rate, channels, form.subtype, endian_of(form), container)


def resampled(given: Iterable[Samples], rate: int, wanted: int) -> Iterator[Samples]:
    """The same at another rate, low-passed below half of the lower one, without a seam between the blocks."""
    if rate == wanted:
        yield from given
        return
    stream: soxr.ResampleStream | None = None
    last: Samples | None = None
    for block in given:
        if stream is None:
            stream = soxr.ResampleStream(rate, wanted, block.shape[1], dtype="int16")
        yield stream.resample_chunk(np.ascontiguousarray(block))
        last = block
    if stream is not None and last is not None:
        yield stream.resample_chunk(last[:0], last=True)
