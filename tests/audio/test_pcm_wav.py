"""Tests of voxrec.audio.pcm_wav."""

import os
import struct
from pathlib import Path

import numpy as np
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

import voxrec.audio.pcm_wav as module
from tests.audio.fixtures import AudioTestCase, silence, tone
from voxrec.audio.pcm_wav import HEADER_SIZE, MAX_DATA_SIZE, PcmWavReader, write_raw, write_wav
from voxrec.audio.probe import AudioInfo, probe
from voxrec.audio.reader import open_audio, read_blocks
from voxrec.errors import AudioError

EXTENSIBLE = 0xFFFE
PCM_GUID = bytes.fromhex("0100000000001000800000aa00389b71")


def chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) & 1)


def wav(
    samples: bytes, *, tag: int = 1, channels: int = 1, rate: int = 8000, bits: int = 16, extra: bytes = b""
) -> bytes:
    """Return a WAV file; ``extra`` is appended to the 16 bytes that every fmt chunk has."""
    frame = channels * bits // 8
    fmt = chunk(b"fmt ", struct.pack("<HHIIHH", tag, channels, rate, rate * frame, frame, bits) + extra)
    body = fmt + b"data" + struct.pack("<I", len(samples)) + samples
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body


PROPERTIES = ("frames", "samplerate", "channels", "format", "subtype")
SAMPLES = tone(440, 0.1).tobytes()


class PcmWavReaderTests(AudioTestCase):
    def put(self, content: bytes) -> Path:
        path = self.directory / "some.wav"
        path.write_bytes(content)
        return path

    def assert_read_as_by_libsndfile(self, path: Path, block: int = 100) -> bool:
        """Check that the file is read as by libsndfile, and return whether it is read without it."""
        try:
            with soundfile.SoundFile(path) as sound_file:
                expected = AudioInfo(*(getattr(sound_file, name) for name in PROPERTIES))
                samples = sound_file.read(dtype="int16", always_2d=True)
        except soundfile.LibsndfileError:
            self.assertRaises(AudioError, probe, path)
            return False
        self.assertEqual(probe(path), expected)
        with open_audio(path) as reader:
            got = [np.zeros((0, expected.channels), dtype=np.int16), *read_blocks(reader, path, block)]
            np.testing.assert_array_equal(np.concatenate(got), samples)
            return isinstance(reader, PcmWavReader)

    def test_files_of_asterisk_and_voxrec_are_read_without_libsndfile(self) -> None:
        for rate in (8000, 16000, 48000):
            for channels in (1, 2):
                content = wav(SAMPLES, rate=rate, channels=channels)
                self.assertTrue(self.assert_read_as_by_libsndfile(self.put(content)))
        self.assertTrue(self.assert_read_as_by_libsndfile(self.put(wav(b""))))
        self.assertTrue(self.assert_read_as_by_libsndfile(self.write("a.wav", silence(0.5))))

    def test_other_files_are_read_with_libsndfile(self) -> None:
        valid = wav(SAMPLES)
        list_chunk = chunk(b"LIST", b"INFOISFT\x05\0\0\0Lavf\0")
        mask = struct.pack("<HHI", 22, 16, 4) + PCM_GUID
        for name, content in {
            "chunk before the data": valid[:36] + list_chunk + valid[36:],
            "chunk after the data": valid + list_chunk,
            "longer fmt chunk": wav(SAMPLES, extra=b"\0\0"),
            "WAVE_FORMAT_EXTENSIBLE": wav(SAMPLES, tag=EXTENSIBLE, extra=mask),
            "A-law": wav(SAMPLES, tag=6, bits=8),
            "floats": wav(SAMPLES, tag=3, bits=32),
            "8 bits": wav(SAMPLES, bits=8),
            "24 bits": wav(SAMPLES[:1500], bits=24),
            "three channels": wav(SAMPLES[:1500], channels=3),
            "no channel": wav(SAMPLES, channels=0),
            "no rate": wav(SAMPLES, rate=0),
            "unusable rate": wav(SAMPLES, rate=0x7FFFFFFF),
            "both sizes zero": valid[:4] + bytes(4) + valid[8:40] + bytes(4) + valid[44:],
            "RIFF size zero": valid[:4] + bytes(4) + valid[8:],
            "fewer samples than the header says": valid[:-100],
            "more samples than the header says": valid + bytes(100),
            "incomplete last sample": wav(SAMPLES[:-1]),
            "truncated header": valid[:40],
            "RIFX": b"RIFX" + valid[4:],
            "wrong byte rate": valid[:28] + bytes(4) + valid[32:],
        }.items():
            with self.subTest(name):
                self.assertFalse(self.assert_read_as_by_libsndfile(self.put(content)))

    @settings(deadline=None)  # it writes files
    @given(
        samples=arrays.arrays(np.int16, st.tuples(st.integers(0, 90), st.integers(1, 3))),
        rate=st.integers(1, 200_000),
        changes=st.lists(st.tuples(st.integers(0, HEADER_SIZE - 1), st.integers(0, 255)), max_size=2),
        cut=st.integers(-4, 60),
        block=st.integers(1, 100),
    )
    def test_arbitrary_files(
        self, samples: NDArray[np.int16], rate: int, changes: list[tuple[int, int]], cut: int, block: int
    ) -> None:
        """A changed header, and missing or additional samples, are read as by libsndfile, too."""
        content = bytearray(wav(samples.tobytes(), channels=samples.shape[1], rate=rate))
        for offset, byte in changes:
            content[offset] = byte
        padded = bytes(content) + bytes(max(-cut, 0))
        self.assert_read_as_by_libsndfile(self.put(padded[: len(padded) - max(cut, 0)]), block)

    def test_seek(self) -> None:
        samples = tone(440, 0.1)
        with open_audio(self.write("a.wav", samples)) as reader:
            assert isinstance(reader, PcmWavReader)
            for frame in (700, 0, 799, 800, 300):
                reader.seek(frame)
                np.testing.assert_array_equal(reader.read(60)[:, 0], samples[frame : frame + 60])

    def test_file_truncated_while_open_ends_with_its_last_complete_frame(self) -> None:
        path = self.put(wav(SAMPLES, channels=2))
        with open_audio(path) as reader:
            os.truncate(path, HEADER_SIZE + 4 * 10 + 3)
            self.assertEqual(sum(len(block) for block in read_blocks(reader, path, 7)), 10)

    def test_maximum_size(self) -> None:
        """The samples are a hole in a sparse file."""
        for size, without_libsndfile in ((MAX_DATA_SIZE // 4 * 4, True), (MAX_DATA_SIZE // 4 * 4 + 4, False)):
            path = self.put(wav(b""))
            with path.open("r+b") as file:
                file.truncate(HEADER_SIZE + size)
                for offset, value in ((4, size + 36), (40, size)):
                    file.seek(offset)
                    file.write(struct.pack("<I", value & 0xFFFFFFFF))
            with open_audio(path) as reader, soundfile.SoundFile(path) as expected:
                self.assertIs(isinstance(reader, PcmWavReader), without_libsndfile)
                self.assertEqual(reader.frames, expected.frames)


class WriteTests(AudioTestCase):
    @settings(deadline=None)  # it writes files
    @given(
        samples=arrays.arrays(np.int16, st.tuples(st.integers(0, 60), st.integers(1, 2))),
        rate=st.sampled_from([8000, 11025, 16000, 48000]),
        block=st.integers(1, 70),
    )
    def test_written_as_by_libsndfile(self, samples: NDArray[np.int16], rate: int, block: int) -> None:
        output, channels = self.directory / "out.wav", samples.shape[1]
        blocks = [samples[start : start + block] for start in range(0, len(samples), block)]
        write_wav(blocks, output, rate, channels)
        self.assertEqual(output.read_bytes(), self.write("libsndfile.wav", samples, rate).read_bytes())
        write_raw(blocks, output)
        self.assertEqual(output.read_bytes(), samples.astype("<i2").tobytes())

    def test_non_contiguous_blocks(self) -> None:
        stereo = np.stack((tone(440, 0.1), tone(880, 0.1)), axis=1)
        write_wav([stereo[:, 1:]], self.directory / "out.wav", 8000, 1)
        np.testing.assert_array_equal(self.read(self.directory / "out.wav"), stereo[:, 1:])

    def test_more_samples_than_a_wav_can_hold_are_refused(self) -> None:
        output, samples = self.directory / "out.wav", tone(440, 1)
        self.patch(module, "MAX_DATA_SIZE", 2 * len(samples) - 1)
        with self.assertRaisesRegex(AudioError, "exceeds the maximum size of a WAV file"):
            write_wav([samples.reshape(-1, 1)], output, 8000, 1)
        write_raw([samples.reshape(-1, 1)], output)
        self.assertEqual(output.stat().st_size, 2 * len(samples))
