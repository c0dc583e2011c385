"""Convert audio in parts, of which only one is in memory, for formats that are written from the start to the end.

The others (FLAC, MP3, AU, GSM in WAV) have a header that their encoder completes at the end; they need a file.
"""

import io
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import Final

import numpy as np
import soundfile

from voxrec.audio.convert import AudioChannel, Conversion
from voxrec.audio.formats import G722, G726, WAV, AudioFormat
from voxrec.audio.pcm_wav import make_header
from voxrec.audio.raw_codecs import G722Writer
from voxrec.audio.reader import Samples, byte_order, translate_error

_BLOCK_FRAMES: Final = 1 << 14  # of the source; resampled from 8 to 192 kHz, a block has 800 kB
_OGG: Final = "OGG"


def is_streamable(audio_format: AudioFormat) -> bool:
    """Return whether a format is written from the start to the end."""
    return (
        _is_pcm_wav(audio_format)
        or audio_format.container == _OGG
        or (audio_format.headerless and audio_format.subtype != G726)
    )


def convert_in_parts(
    source: Path,
    audio_format: AudioFormat,
    channel: AudioChannel | None = None,
    source_format: AudioFormat | None = None,
    check: Callable[[], None] = lambda: None,
) -> Generator[bytes, None, None]:
    """Yield the parts of ``source`` in a streamable ``audio_format``; see `voxrec.audio.convert.convert`.

    The header of a WAV file contains its length, so that the source is decoded twice for it. The first part therefore
    takes long; ``check`` is called meanwhile, and may raise to end the conversion. Raises AudioError and OSError.
    """
    conversion = Conversion.of(source, audio_format, channel, source_format)
    if _is_pcm_wav(audio_format):
        frames = sum(map(len, conversion.blocks(_BLOCK_FRAMES, check)))
        yield make_header(conversion.rate, conversion.channels, 2 * frames * conversion.channels)
    yield from _encode(conversion, conversion.blocks(_BLOCK_FRAMES))


def _is_pcm_wav(audio_format: AudioFormat) -> bool:
    return (audio_format.container, audio_format.subtype) == (WAV.container, WAV.subtype)


def _encode(conversion: Conversion, blocks: Iterable[Samples]) -> Iterator[bytes]:
    audio_format = conversion.audio_format
    if audio_format.subtype == WAV.subtype:
        yield from (np.ascontiguousarray(block, dtype="<i2").tobytes() for block in blocks)
    elif audio_format.subtype == G722:
        yield from _encode_g722(blocks)
    else:
        yield from _encode_with_libsndfile(conversion, blocks)


def _encode_g722(blocks: Iterable[Samples]) -> Iterator[bytes]:
    output = io.BytesIO()
    writer = G722Writer(output)
    for block in blocks:
        writer.write(block)
        yield output.getvalue()
        output.seek(0)
        output.truncate()


def _encode_with_libsndfile(conversion: Conversion, blocks: Iterable[Samples]) -> Iterator[bytes]:
    audio_format = conversion.audio_format
    output = _AppendedOutput()
    try:
        with soundfile.SoundFile(
            *(output, "w", conversion.rate, conversion.channels, audio_format.subtype),
            endian=byte_order(audio_format),
            format=audio_format.container,
        ) as sound_file:
            for block in blocks:
                sound_file.write(np.left_shift(block, 16, dtype=np.int32))  # see voxrec.audio.writer
                yield output.take()
        yield output.take()
    except soundfile.LibsndfileError as error:
        raise translate_error(conversion.source, error) from error


class _AppendedOutput:
    """A file, as libsndfile needs one, whose content is taken away while it is written."""

    def __init__(self) -> None:
        self._size = 0
        self._parts: list[bytes] = []

    def take(self) -> bytes:
        """Return what was written since the last call."""
        parts, self._parts = self._parts, []
        return b"".join(parts)

    def write(self, data: memoryview) -> int:
        """Append data."""
        self._parts.append(bytes(data))
        self._size += len(data)
        return len(data)

    def seek(self, _offset: int, _whence: int = io.SEEK_SET) -> int:
        """Do nothing: libsndfile only seeks to the end, or to determine the size."""
        return self._size

    def tell(self) -> int:
        """Return the size."""
        return self._size
