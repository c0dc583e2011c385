"""Tests of voxrec.audio.convert."""

import errno
import io
import os
import struct
from pathlib import Path
from typing import Final
from unittest.mock import patch

import numpy as np
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.audio.fixtures import AudioTestCase, amplitude_at, silence, tone
from voxrec.audio import convert as module
from voxrec.audio.convert import AudioChannel, convert, convert_for_playback, measure_duration
from voxrec.audio.formats import FORMATS, WAV
from voxrec.audio.reader import BLOCK_FRAMES, open_audio, read_blocks
from voxrec.errors import AudioError

CONTAINERS_WITH_HEADER: Final = ("WAV", "FLAC", "OGG", "MP3", "AU", "AIFF", "RF64", "W64", "CAF")


def quarter_second(container: str, rate: int = 8000) -> bytes:
    """Return a file with a quarter of a second of a tone."""
    file = io.BytesIO()
    samples = 0.3 * np.sin(2 * np.pi * 440 * np.arange(rate // 4) / rate)
    soundfile.write(file, samples, rate, format=container)
    return file.getvalue()


SMALL_FILES: Final = {container: quarter_second(container) for container in CONTAINERS_WITH_HEADER}


class ConvertTests(AudioTestCase):
    def test_every_format_at_every_rate(self) -> None:
        for rate in (8000, 11025, 44100, 96000):
            source = self.write(
                f"{rate}.wav", np.stack([tone(440, 1, rate=rate), tone(1000, 1, rate=rate)], axis=1), rate
            )
            for audio_format in FORMATS.values():
                for channel in (*([None] if audio_format.channels == 2 else []), *AudioChannel):
                    output = self.directory / f"out.{audio_format.suffix}"
                    written = convert(source, output, audio_format, channel)
                    self.assertApproximates(written.duration, 1.0, 0.1)
                    self.assertEqual(written.channels, 2 if channel is None else 1)

    def test_source_format_is_used_for_files_without_header(self) -> None:
        source = self.write("a.wav", tone(440, 1))
        for audio_format in FORMATS.values():
            encoded = self.directory / f"encoded-{audio_format.name}"
            convert(source, encoded, audio_format)
            written = convert(encoded, self.directory / "back.wav", WAV, source_format=audio_format)
            samples = self.read(self.directory / "back.wav")[:, 0]
            self.assertApproximates(amplitude_at(samples, 440, written.rate), 8000, 500, audio_format.name)

    def test_two_channels_are_refused_for_a_mono_format(self) -> None:
        source = self.write("two.wav", np.stack([tone(440, 1), tone(1000, 1)], axis=1))
        with self.assertRaisesRegex(AudioError, "gsm supports at most 1"):
            convert(source, self.directory / "out.gsm", FORMATS["gsm"])

    def test_failure_leaves_no_output(self) -> None:
        output = self.directory / "out.wav"
        with self.assertRaisesRegex(AudioError, "has 1 channels"):
            convert(self.write("one.wav", tone(440, 1)), output, WAV, AudioChannel.MIX)
        self.assertFalse(output.exists())


class ConvertForPlaybackTests(AudioTestCase):
    def test_long_file_is_resampled_without_discontinuities(self) -> None:
        source = self.write("long.wav", tone(440, 40, rate=44100), 44100)
        convert_for_playback(source, self.directory / "out.wav", 8000)
        samples = self.read(self.directory / "out.wav")[:, 0]
        self.assertEqual(len(samples), 40 * 8000)
        for second in range(1, 39):
            self.assertApproximates(amplitude_at(samples[second * 8000 : (second + 1) * 8000], 440), 8000, 40)

    def test_frequencies_above_half_the_rate_are_filtered_not_aliased(self) -> None:
        source = self.write("high.wav", tone(6000, 2, rate=48000) + tone(1000, 2, rate=48000), 48000)
        convert_for_playback(source, self.directory / "out.wav", 8000)
        samples = self.read(self.directory / "out.wav")[4000:12000, 0]
        self.assertLess(amplitude_at(samples, 2000), 8)
        self.assertApproximates(amplitude_at(samples, 1000), 8000, 40)

    def test_channels_are_averaged(self) -> None:
        source = self.write("two.wav", np.stack([tone(440, 1), silence(1)], axis=1))
        convert_for_playback(source, self.directory / "out.wav", 8000)
        samples = self.read(self.directory / "out.wav")
        self.assertEqual(samples.shape, (8000, 1))
        self.assertApproximates(amplitude_at(samples[:, 0], 440), 4000, 20)

    def test_output_is_synchronized_and_removed_when_the_disk_is_full(self) -> None:
        source, output = self.write("a.wav", tone(440, 1)), self.directory / "out.wav"
        synced = []
        self.patch(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_size))
        convert_for_playback(source, output, 8000)
        self.assertEqual(synced, [output.stat().st_size])

        def fail(_: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        self.patch(os, "fsync", fail)
        self.assertRaises(OSError, convert_for_playback, source, output, 8000)
        self.assertFalse(output.exists())


class MeasureDurationTests(AudioTestCase):
    def put(self, content: bytes) -> Path:
        path = self.directory / "upload"
        path.write_bytes(content)
        return path

    def test_duration(self) -> None:
        self.assertEqual(measure_duration(self.write("a.wav", tone(440, 2)), 10), 2)

    def test_errors(self) -> None:
        with self.assertRaisesRegex(AudioError, "longer than 1 seconds"):
            measure_duration(self.write("a.wav", tone(440, 2)), 1)
        with self.assertRaisesRegex(AudioError, "contains no audio"):
            measure_duration(self.write("b.wav", tone(440, 0)), 1)
        truncated = self.write("c.flac", tone(440, 20))
        truncated.write_bytes(truncated.read_bytes()[:-30_000])
        with self.assertRaises(AudioError):
            measure_duration(truncated, 100)

    @given(
        st.sampled_from(CONTAINERS_WITH_HEADER),
        st.lists(st.tuples(st.integers(0, 120), st.integers(0, 255)), max_size=8),
        st.none() | st.integers(0, 4000),
    )
    @settings(derandomize=True, database=None, max_examples=300, deadline=None)
    def test_damaged_file_is_measured_or_refused(
        self, container: str, changes: list[tuple[int, int]], length: int | None
    ) -> None:
        content = bytearray(SMALL_FILES[container])
        for offset, byte in changes:
            content[min(offset, len(content) - 1)] = byte
        path = self.put(bytes(content[:length]))
        try:
            seconds = measure_duration(path, 600)
            convert_for_playback(path, self.directory / "out.wav", 8000)
        except AudioError as error:
            self.assertTrue(error.detail.startswith(str(path)))
        else:
            self.assertLessEqual(seconds, 600)

    def test_wrong_size_in_wav_header_is_not_trusted(self) -> None:
        content = bytearray(SMALL_FILES["WAV"])
        offset = content.index(b"data") + 4
        for size in (0xFFFFFFFF, 0xFFFFFFFE, 0x7FFFFFFF):
            content[4:8] = content[offset : offset + 4] = struct.pack("<I", size)
            try:
                seconds = measure_duration(self.put(bytes(content)), 600)
            except AudioError:
                continue
            self.assertApproximates(seconds, 0.25, 0.01)

    def test_decompression_bomb_is_refused_by_its_header(self) -> None:
        """Ten minutes of silence at 192 kHz decode to 230 MB and compress to a few kilobytes."""
        for container, rate, seconds in (("FLAC", 192_000, 601), ("OGG", 48_000, 601)):
            path = self.directory / "bomb"
            with soundfile.SoundFile(path, "w", rate, 1, format=container) as file:
                for _ in range(seconds):
                    file.write(np.zeros(rate, np.int16))
            self.assertLess(path.stat().st_size, 1_000_000, container)
            with patch.object(module, "read_blocks", side_effect=AssertionError("it was decoded")):
                self.assertRaisesRegex(AudioError, "longer than 600 seconds", measure_duration, path, 600)

    def test_decompression_bomb_without_length_is_decoded_up_to_the_limit(self) -> None:
        """The number of samples in STREAMINFO may be 0, for unknown."""
        path = self.directory / "bomb"
        with soundfile.SoundFile(path, "w", 8000, 1, format="FLAC") as file:
            file.write(np.zeros(8000 * 900, np.int16))
        content = bytearray(path.read_bytes())
        content[21] &= 0xF0  # the field has 36 bits and starts here (RFC 9639, section 8.2)
        content[22:26] = bytes(4)
        decoded = 0

        def counting_read_blocks(*args: object) -> object:
            nonlocal decoded
            for block in read_blocks(*args):  # type: ignore[arg-type]
                decoded += len(block)
                yield block

        with patch.object(module, "read_blocks", counting_read_blocks):
            self.assertRaises(AudioError, measure_duration, self.put(bytes(content)), 600)
        self.assertLessEqual(decoded, 8000 * 600 + BLOCK_FRAMES)

    def test_more_samples_than_a_wav_can_hold_are_refused(self) -> None:
        path = self.put(SMALL_FILES["FLAC"])
        self.assertApproximates(measure_duration(path, 600), 0.25, 0.01)
        with patch.object(module, "_MAX_SAMPLES", 1000):
            self.assertRaisesRegex(AudioError, r"longer than 0\.125 seconds", measure_duration, path, 600)

    def test_many_channels_do_not_make_large_blocks(self) -> None:
        file = io.BytesIO()
        soundfile.write(file, np.zeros((50_000, 64), np.int16), 8000, format="WAV")
        path = self.put(file.getvalue())
        with open_audio(path) as reader:
            largest = max(block.size for block in module._read_limited_blocks(reader, path))
        self.assertLessEqual(largest, BLOCK_FRAMES)
