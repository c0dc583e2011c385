"""Tests of voxrec.audio.repair."""

import struct
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.audio.fixtures import AudioTestCase, silence, tone
from voxrec.audio.probe import probe
from voxrec.audio.repair import needs_repair, repair_header

HEADER_SIZE = 44


def with_sizes(content: bytes, riff: int, data: int) -> bytes:
    """Return a WAV file with other sizes in its 44-byte header."""
    return content[:4] + struct.pack("<I", riff) + content[8:40] + struct.pack("<I", data) + content[HEADER_SIZE:]


def chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) & 1)


class RepairTests(AudioTestCase):
    def put(self, content: bytes) -> Path:
        path = self.directory / "leg.wav"
        path.write_bytes(content)
        return path

    def valid_wav(self, seconds: float = 1.0) -> bytes:
        return self.write("valid.wav", tone(440, seconds)).read_bytes()

    def test_zero_sizes_are_set(self) -> None:
        valid = self.valid_wav()
        path = self.put(with_sizes(valid, 0, 0))
        self.assertTrue(repair_header(path))
        self.assertEqual(path.read_bytes(), valid)
        self.assertFalse(repair_header(path))

    def test_silence_is_not_mistaken_for_empty_chunks(self) -> None:
        valid = self.write("silent.wav", silence(1.0)).read_bytes()
        path = self.put(with_sizes(valid, 0, 0))
        self.assertTrue(repair_header(path))
        self.assertEqual(path.read_bytes(), valid)

    def test_sizes_of_a_file_that_was_appended_to_are_corrected(self) -> None:
        valid = self.valid_wav()
        path = self.put(with_sizes(valid, 36 + 8000, 8000))
        self.assertTrue(repair_header(path))
        self.assertEqual(path.read_bytes(), valid)

    def test_sizes_of_a_truncated_file_are_corrected(self) -> None:
        path = self.put(self.valid_wav()[:-1000])
        self.assertTrue(repair_header(path))
        self.assertEqual(probe(path).frames, 7500)
        self.assertEqual(path.read_bytes(), self.valid_wav(7500 / 8000))

    def test_incomplete_last_sample_is_removed(self) -> None:
        valid = self.valid_wav()
        path = self.put(with_sizes(valid[:-1], 0, 0))
        self.assertTrue(repair_header(path))
        self.assertEqual(probe(path).frames, 7999)
        self.assertEqual(path.stat().st_size, len(valid) - 2)
        self.assertFalse(repair_header(path))

    def test_wrong_riff_size_is_corrected(self) -> None:
        valid = self.valid_wav()
        path = self.put(with_sizes(valid, 0, 16000))
        self.assertTrue(repair_header(path))
        self.assertEqual(path.read_bytes(), valid)

    def test_odd_data_size_is_padded(self) -> None:
        header = self.valid_wav()[:HEADER_SIZE]
        header = header[:32] + struct.pack("<HH", 1, 8) + header[36:]
        path = self.put(with_sizes(header + b"\x80" * 7, 0, 0))
        self.assertTrue(repair_header(path))
        self.assertEqual(path.read_bytes(), with_sizes(header, 36 + 8, 7) + b"\x80" * 7 + b"\0")
        self.assertFalse(repair_header(path))

    def test_file_with_chunks_after_the_data_is_unchanged(self) -> None:
        valid = self.valid_wav()
        chunks = chunk(b"LIST", b"INFOISFT\x05\0\0\0Lavf\0") + chunk(b"id3 ", b"ID3")
        for name, content in {
            "valid": with_sizes(valid + chunks, len(valid) + len(chunks) - 8, 16000),
            "riff size wrong": with_sizes(valid + chunks, 0, 16000),
            "last pad byte missing": with_sizes(valid + chunks[:-1], len(valid) + len(chunks) - 9, 16000),
        }.items():
            with self.subTest(name):
                path = self.put(content)
                self.assertFalse(repair_header(path))
                self.assertEqual(path.read_bytes(), content)

    def test_chunks_before_the_data_are_kept(self) -> None:
        valid = self.valid_wav()
        before = chunk(b"LIST", b"INFO\0")
        expected = valid[:36] + before + valid[36:]
        expected = expected[:4] + struct.pack("<I", len(expected) - 8) + expected[8:]
        size_offset = 36 + len(before) + 4
        path = self.put(expected[:size_offset] + b"\0\0\0\0" + expected[size_offset + 4 :])
        self.assertTrue(repair_header(path))
        self.assertEqual(path.read_bytes(), expected)

    def test_file_without_complete_wav_header_is_unchanged(self) -> None:
        valid = self.valid_wav()
        without_fmt = valid[:12] + valid[36:]
        for content in (b"", b"RIFF", valid[:30], b"OggS" + valid[4:], valid[:8] + b"AVI " + valid[12:], without_fmt):
            with self.subTest(content[:40]):
                path = self.put(content)
                self.assertFalse(repair_header(path))
                self.assertEqual(path.read_bytes(), content)

    def test_valid_file_is_not_written_to(self) -> None:
        path = self.put(self.valid_wav())
        path.chmod(0o400)
        before = path.stat()
        self.assertFalse(repair_header(path))
        self.assertEqual(path.stat().st_mtime_ns, before.st_mtime_ns)

    @settings(deadline=None)  # it writes files
    @given(
        frames=st.integers(0, 300),
        subtype=st.sampled_from(["PCM_U8", "PCM_16", "PCM_24", "FLOAT", "ULAW", "ALAW", "IMA_ADPCM"]),
        channels=st.integers(1, 2),
    )
    def test_files_of_libsndfile_need_no_repair(self, frames: int, subtype: str, channels: int) -> None:
        path = self.write("libsndfile.wav", np.ones((frames, channels), dtype=np.int16), subtype=subtype)
        content = path.read_bytes()
        self.assertFalse(repair_header(path))
        self.assertEqual(path.read_bytes(), content)

    @settings(deadline=None)  # it writes files
    @given(samples=st.binary(max_size=600), riff=st.integers(0, 2**32 - 1), data=st.integers(0, 2**32 - 1))
    def test_arbitrary_sizes(self, samples: bytes, riff: int, data: int) -> None:
        """After the repair every complete sample is there, and no further repair is needed."""
        path = self.put(with_sizes(self.valid_wav(0)[:HEADER_SIZE] + samples, riff, data))
        needed = needs_repair(path)
        self.assertIs(repair_header(path), needed)
        self.assertEqual(probe(path).frames, len(samples) // 2)
        self.assertEqual(path.read_bytes()[HEADER_SIZE:], samples[: len(samples) // 2 * 2])
        self.assertFalse(needs_repair(path))

    @settings(deadline=None)  # it writes files
    @given(content=st.binary(max_size=200))
    def test_arbitrary_files(self, content: bytes) -> None:
        path = self.put(content)
        self.assertFalse(repair_header(path))
        self.assertEqual(path.read_bytes(), content)
