"""Write blocks of samples to a new file of any supported format."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import soundfile

from voxrec.audio.formats import G722, G726, WAV, AudioFormat
from voxrec.audio.pcm_wav import write_raw, write_wav
from voxrec.audio.raw_codecs import AuHeaderFile, G722Writer
from voxrec.audio.reader import Samples, byte_order, translate_error


def write_audio(blocks: Iterable[Samples], output: Path, rate: int, channels: int, audio_format: AudioFormat) -> None:
    """Write blocks shaped (frames, channels), at a ``rate`` (Hz) that the format supports, to ``output``.

    Raises OSError if the file cannot be written, AudioError if libsndfile fails or the format cannot hold all samples.
    A partial file may remain then.
    """
    if audio_format.subtype == G722:
        _write_g722(blocks, output)
    elif audio_format.headerless and audio_format.subtype == WAV.subtype:
        write_raw(blocks, output)
    elif (audio_format.container, audio_format.subtype) == (WAV.container, WAV.subtype):
        write_wav(blocks, output, rate, channels)
    else:
        _write_with_libsndfile(blocks, output, rate, channels, audio_format)


def _write_g722(blocks: Iterable[Samples], output: Path) -> None:
    with output.open("wb") as file:
        writer = G722Writer(file)
        for block in blocks:
            writer.write(block)


def _write_with_libsndfile(
    blocks: Iterable[Samples], output: Path, rate: int, channels: int, audio_format: AudioFormat
) -> None:
    try:
        with _create(output, rate, channels, audio_format) as sound_file:
            for block in blocks:
                # 32 bits for every format: of 16-bit samples libsndfile up to 1.2.2 turns half of a stereo MP3 into
                # noise (libsndfile#1106)
                sound_file.write(np.left_shift(block, 16, dtype=np.int32))
    except soundfile.LibsndfileError as error:
        raise translate_error(output, error) from error


def _create(output: Path, rate: int, channels: int, audio_format: AudioFormat) -> soundfile.SoundFile:
    if audio_format.subtype == G726:
        return soundfile.SoundFile(AuHeaderFile(output, "w", rate), "w", rate, 1, audio_format.subtype, format="AU")
    return soundfile.SoundFile(
        output, "w", rate, channels, audio_format.subtype, byte_order(audio_format), audio_format.container
    )
