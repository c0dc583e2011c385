"""Uploads that lie: headers that promise too much, files that break off, and little that unfolds to a lot."""

import io
import struct
from pathlib import Path
from unittest.mock import patch

import numpy as np
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.audio.tones import AudioTestCase
from voxrec.audio import convert, source
from voxrec.errors import AudioError

_TAGGED = ("WAV", "FLAC", "OGG", "MP3", "AU", "AIFF", "RF64", "W64", "CAF")


def small(container: str, rate: int = 8000) -> bytes:
    """A quarter of a second of a tone."""
    file = io.BytesIO()
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(rate // 4) / rate)
    soundfile.write(file, tone, rate, format=container)
    return file.getvalue()


SMALL = {container: small(container) for container in _TAGGED}


class BombTests(AudioTestCase):
    def put(self, content: bytes) -> Path:
        path = self.directory / "upload"
        path.write_bytes(content)
        return path

    @given(
        st.sampled_from(_TAGGED),
        st.lists(st.tuples(st.integers(0, 120), st.integers(0, 255)), max_size=8),
        st.none() | st.integers(0, 4000),
    )
    @settings(derandomize=True, database=None, max_examples=300, deadline=None)
    def test_whatever_it_is_it_is_measured_or_refused(
        self, container: str, changes: list[tuple[int, int]], cut: int | None
    ) -> None:
        content = bytearray(SMALL[container])
        for at, byte in changes:
            content[min(at, len(content) - 1)] = byte
        path = self.put(bytes(content[:cut]))
        try:
            seconds = convert.measured(path, 600)
            convert.telephone(path, self.directory / "out.wav", 8000)
        except AudioError as fault:
            self.assertTrue(fault.detail.startswith(str(path)))
        else:
            self.assertLessEqual(seconds, 600)

    def test_a_wav_that_promises_four_gigabytes_is_what_it_holds_or_nothing(self) -> None:
        content = bytearray(SMALL["WAV"])
        at = content.index(b"data") + 4
        for size in (0xFFFFFFFF, 0xFFFFFFFE, 0x7FFFFFFF):
            content[4:8] = content[at : at + 4] = struct.pack("<I", size)
            try:
                seconds = convert.measured(self.put(bytes(content)), 600)
            except AudioError:
                continue
            self.assertApproximates(seconds, 0.25, 0.01)

    def test_silence_that_unfolds_is_refused_without_being_unfolded(self) -> None:
        """Ten minutes at 192 kHz are 230 MB as samples, and a few kilobytes here; its header tells, and is enough."""
        for container, rate, seconds in (("FLAC", 192_000, 601), ("OGG", 48_000, 601)):
            path = self.directory / "bomb"
            with soundfile.SoundFile(path, "w", rate, 1, format=container) as file:
                for _ in range(seconds):
                    file.write(np.zeros(rate, np.int16))
            self.assertLess(path.stat().st_size, 1_000_000, container)
            with patch.object(convert, "blocks", side_effect=AssertionError("it was unfolded")):
                self.assertRaisesRegex(AudioError, "longer than 600 seconds", convert.measured, path, 600)

    def test_a_header_that_says_nothing_of_a_long_flac_does_not_help_it(self) -> None:
        """The number of samples in STREAMINFO may be 0, unknown: then what is read is counted."""
        path = self.directory / "bomb"
        with soundfile.SoundFile(path, "w", 8000, 1, format="FLAC") as file:
            file.write(np.zeros(8000 * 900, np.int16))
        content = bytearray(path.read_bytes())
        content[21] &= 0xF0  # 36 bits from here on (RFC 9639, section 8.2)
        content[22:26] = bytes(4)
        read = 0
        real = source.blocks

        def counted(*args: object) -> object:
            nonlocal read
            for block in real(*args):  # type: ignore[arg-type]
                read += len(block)
                yield block

        with patch.object(convert, "blocks", counted):
            self.assertRaises(AudioError, convert.measured, self.put(bytes(content)), 600)
        self.assertLessEqual(read, 8000 * 600 + source.BLOCK)

    def test_more_than_a_wav_could_hold_is_refused_whatever_its_seconds(self) -> None:
        path = self.put(SMALL["FLAC"])
        self.assertApproximates(convert.measured(path, 600), 0.25, 0.01)
        with patch.object(convert, "_MOST", 1000):
            self.assertRaisesRegex(AudioError, r"longer than 0\.125 seconds", convert.measured, path, 600)

    def test_no_number_of_channels_makes_a_large_block(self) -> None:
        file = io.BytesIO()
        soundfile.write(file, np.zeros((50_000, 64), np.int16), 8000, format="WAV")
        path = self.put(file.getvalue())
        largest = max(block.size for sound in [path] for block in _blocks_of(sound))
        self.assertLessEqual(largest, source.BLOCK)


def _blocks_of(path: Path) -> list[np.ndarray]:
    with source.opened(path) as sound:
        return list(convert._small(sound, path))
