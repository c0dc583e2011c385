"""Tests of voxrec.audio.repair."""

import struct
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.audio.tones import AudioTestCase, silence, tone
from voxrec.audio.probe import probe
from voxrec.audio.repair import needs_repair, repair

HEADER = 44


def with_sizes(content: bytes, riff: int, data: int) -> bytes:
    """Put other sizes into a 44-byte WAV header."""
    return content[:4] + struct.pack("<I", riff) + content[8:40] + struct.pack("<I", data) + content[HEADER:]


def chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) & 1)


class RepairTests(AudioTestCase):
    def given_file(self, content: bytes) -> Path:
        path = self.directory / "leg.wav"
        path.write_bytes(content)
        return path

    def sound(self, seconds: float = 1.0) -> bytes:
        return self.write("sound.wav", tone(440, seconds)).read_bytes()

    def test_sizes_that_stayed_zero(self) -> None:
        whole = self.sound()
        path = self.given_file(with_sizes(whole, 0, 0))
        self.assertTrue(repair(path))
        self.assertEqual(path.read_bytes(), whole)
        self.assertFalse(repair(path))

    def test_silence_is_not_a_chain_of_empty_chunks(self) -> None:
        whole = self.write("silent.wav", silence(1.0)).read_bytes()
        path = self.given_file(with_sizes(whole, 0, 0))
        self.assertTrue(repair(path))
        self.assertEqual(path.read_bytes(), whole)

    def test_more_was_appended_than_the_header_knows(self) -> None:
        whole = self.sound()
        path = self.given_file(with_sizes(whole, 36 + 8000, 8000))
        self.assertTrue(repair(path))
        self.assertEqual(path.read_bytes(), whole)

    def test_the_file_ends_before_the_header_says(self) -> None:
        path = self.given_file(self.sound()[:-1000])
        self.assertTrue(repair(path))
        self.assertEqual(probe(path).frames, 7500)
        self.assertEqual(path.read_bytes(), self.sound(7500 / 8000))

    def test_a_cut_sample_goes(self) -> None:
        whole = self.sound()
        path = self.given_file(with_sizes(whole[:-1], 0, 0))
        self.assertTrue(repair(path))
        self.assertEqual(probe(path).frames, 7999)
        self.assertEqual(path.stat().st_size, len(whole) - 2)
        self.assertFalse(repair(path))

    def test_only_the_riff_size_is_wrong(self) -> None:
        whole = self.sound()
        path = self.given_file(with_sizes(whole, 0, 16000))
        self.assertTrue(repair(path))
        self.assertEqual(path.read_bytes(), whole)

    def test_one_byte_samples_are_padded_to_even(self) -> None:
        header = self.sound()[:HEADER]
        header = header[:32] + struct.pack("<HH", 1, 8) + header[36:]
        path = self.given_file(with_sizes(header + b"\x80" * 7, 0, 0))
        self.assertTrue(repair(path))
        self.assertEqual(path.read_bytes(), with_sizes(header, 36 + 8, 7) + b"\x80" * 7 + b"\0")
        self.assertFalse(repair(path))

    def test_chunks_behind_the_data_stay(self) -> None:
        whole = self.sound()
        more = chunk(b"LIST", b"INFOISFT\x05\0\0\0Lavf\0") + chunk(b"id3 ", b"ID3")
        for name, content in {
            "right": with_sizes(whole + more, len(whole) + len(more) - 8, 16000),
            "riff size wrong": with_sizes(whole + more, 0, 16000),
            "last pad byte missing": with_sizes(whole + more[:-1], len(whole) + len(more) - 9, 16000),
        }.items():
            with self.subTest(name):
                path = self.given_file(content)
                self.assertFalse(repair(path))
                self.assertEqual(path.read_bytes(), content)

    def test_chunks_before_the_data_do_not_matter(self) -> None:
        whole = self.sound()
        before = chunk(b"LIST", b"INFO\0")
        right = whole[:36] + before + whole[36:]
        right = right[:4] + struct.pack("<I", len(right) - 8) + right[8:]
        size_at = 36 + len(before) + 4
        path = self.given_file(right[:size_at] + b"\0\0\0\0" + right[size_at + 4 :])
        self.assertTrue(repair(path))
        self.assertEqual(path.read_bytes(), right)

    def test_what_is_not_a_whole_wav_stays(self) -> None:
        whole = self.sound()
        no_format = whole[:12] + whole[36:]
        for content in (b"", b"RIFF", whole[:30], b"OggS" + whole[4:], whole[:8] + b"AVI " + whole[12:], no_format):
            with self.subTest(content[:40]):
                path = self.given_file(content)
                self.assertFalse(repair(path))
                self.assertEqual(path.read_bytes(), content)

    def test_right_files_are_not_even_written_to(self) -> None:
        path = self.given_file(self.sound())
        path.chmod(0o400)
        before = path.stat()
        self.assertFalse(repair(path))
        self.assertEqual(path.stat().st_mtime_ns, before.st_mtime_ns)

    @settings(deadline=None)  # it writes files
    @given(
        frames=st.integers(0, 300),
        subtype=st.sampled_from(["PCM_U8", "PCM_16", "PCM_24", "FLOAT", "ULAW", "ALAW", "IMA_ADPCM"]),
        channels=st.integers(1, 2),
    )
    def test_libsndfiles_own_files_are_right(self, frames: int, subtype: str, channels: int) -> None:
        path = self.write("own.wav", np.ones((frames, channels), dtype=np.int16), subtype=subtype)
        content = path.read_bytes()
        self.assertFalse(repair(path))
        self.assertEqual(path.read_bytes(), content)

    @settings(deadline=None)  # it writes files
    @given(samples=st.binary(max_size=600), riff=st.integers(0, 2**32 - 1), data=st.integers(0, 2**32 - 1))
    def test_any_sizes(self, samples: bytes, riff: int, data: int) -> None:
        """Whatever the header says: afterwards every whole sample is there, and a second look finds nothing."""
        path = self.given_file(with_sizes(self.sound(0)[:HEADER] + samples, riff, data))
        needed = needs_repair(path)
        self.assertIs(repair(path), needed)
        self.assertEqual(probe(path).frames, len(samples) // 2)
        self.assertEqual(path.read_bytes()[HEADER:], samples[: len(samples) // 2 * 2])
        self.assertFalse(needs_repair(path))

    @settings(deadline=None)  # it writes files
    @given(content=st.binary(max_size=200))
    def test_any_bytes(self, content: bytes) -> None:
        path = self.given_file(content)
        self.assertFalse(repair(path))
        self.assertEqual(path.read_bytes(), content)
