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
from tests.audio.tones import AudioTestCase, silence, tone
from voxrec.audio.formats import FORMATS, WAV
from voxrec.audio.join import join
from voxrec.audio.pcm_wav import HEADER, LONGEST, PlainSource, write_raw, write_wav
from voxrec.audio.probe import AudioInfo, probe
from voxrec.audio.source import blocks, opened
from voxrec.errors import AudioError
from voxrec.model import RecordChannels

EXTENSIBLE = 0xFFFE
PCM_GUID = bytes.fromhex("0100000000001000800000aa00389b71")


def chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) & 1)


def wav(
    samples: bytes, *, tag: int = 1, channels: int = 1, rate: int = 8000, bits: int = 16, more: bytes = b""
) -> bytes:
    """A WAV file; ``more`` stands behind what every fmt chunk has."""
    frame = channels * bits // 8
    form = chunk(b"fmt ", struct.pack("<HHIIHH", tag, channels, rate, rate * frame, frame, bits) + more)
    body = form + b"data" + struct.pack("<I", len(samples)) + samples
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body


SAMPLES = tone(440, 0.1).tobytes()


class ReadingTests(AudioTestCase):
    def put(self, content: bytes) -> Path:
        path = self.directory / "some.wav"
        path.write_bytes(content)
        return path

    def assert_as_libsndfile(self, path: Path, block: int = 100) -> bool:
        """Whatever reads it, it is what libsndfile says it is; gives whether it is read without it."""
        try:
            with soundfile.SoundFile(path) as sound:
                expected = AudioInfo(sound.frames, sound.samplerate, sound.channels, sound.format, sound.subtype)
                samples = sound.read(dtype="int16", always_2d=True)
        except soundfile.LibsndfileError:
            self.assertRaises(AudioError, probe, path)
            return False
        self.assertEqual(probe(path), expected)
        with opened(path) as sound:
            got = [np.zeros((0, expected.channels), dtype=np.int16), *blocks(sound, path, block)]
            np.testing.assert_array_equal(np.concatenate(got), samples)
            return isinstance(sound, PlainSource)

    def test_what_asterisk_and_voxrec_write_needs_no_libsndfile(self) -> None:
        for rate in (8000, 16000, 48000):
            for channels in (1, 2):
                content = wav(SAMPLES, rate=rate, channels=channels)
                self.assertTrue(self.assert_as_libsndfile(self.put(content)))
        self.assertTrue(self.assert_as_libsndfile(self.put(wav(b""))))
        self.assertTrue(self.assert_as_libsndfile(self.write("a.wav", silence(0.5))))

    def test_everything_else_does(self) -> None:
        whole = wav(SAMPLES)
        listed = chunk(b"LIST", b"INFOISFT\x05\0\0\0Lavf\0")
        mask = struct.pack("<HHI", 22, 16, 4) + PCM_GUID
        for name, content in {
            "a chunk before the data": whole[:36] + listed + whole[36:],
            "a chunk behind the data": whole + listed,
            "a longer fmt chunk": wav(SAMPLES, more=b"\0\0"),
            "an extensible one": wav(SAMPLES, tag=EXTENSIBLE, more=mask),
            "no PCM": wav(SAMPLES, tag=6, bits=8),
            "floats": wav(SAMPLES, tag=3, bits=32),
            "8 bits": wav(SAMPLES, bits=8),
            "24 bits": wav(SAMPLES[:1500], bits=24),
            "three channels": wav(SAMPLES[:1500], channels=3),
            "no channel": wav(SAMPLES, channels=0),
            "no rate": wav(SAMPLES, rate=0),
            "a rate that nobody has": wav(SAMPLES, rate=0x7FFFFFFF),
            "sizes that stayed zero": whole[:4] + bytes(4) + whole[8:40] + bytes(4) + whole[44:],
            "a RIFF size that stayed zero": whole[:4] + bytes(4) + whole[8:],
            "less than it says": whole[:-100],
            "more than it says": whole + bytes(100),
            "a part of a sample": wav(SAMPLES[:-1]),
            "a header that is cut": whole[:40],
            "RIFX": b"RIFX" + whole[4:],
            "bytes a second that are wrong": whole[:28] + bytes(4) + whole[32:],
        }.items():
            with self.subTest(name):
                self.assertFalse(self.assert_as_libsndfile(self.put(content)))

    @settings(deadline=None)  # it writes files
    @given(
        samples=arrays.arrays(np.int16, st.tuples(st.integers(0, 90), st.integers(1, 3))),
        rate=st.integers(1, 200_000),
        changes=st.lists(st.tuples(st.integers(0, HEADER - 1), st.integers(0, 255)), max_size=2),
        cut=st.integers(-4, 60),
        block=st.integers(1, 100),
    )
    def test_any_file(
        self, samples: NDArray[np.int16], rate: int, changes: list[tuple[int, int]], cut: int, block: int
    ) -> None:
        """A header with any byte of it changed, and samples missing or too many, is never taken for another file."""
        content = bytearray(wav(samples.tobytes(), channels=samples.shape[1], rate=rate))
        for at, byte in changes:
            content[at] = byte
        whole = bytes(content) + bytes(max(-cut, 0))
        self.assert_as_libsndfile(self.put(whole[: len(whole) - max(cut, 0)]), block)

    def test_from_any_frame(self) -> None:
        samples = tone(440, 0.1)
        with opened(self.write("a.wav", samples)) as sound:
            assert isinstance(sound, PlainSource)
            for frame in (700, 0, 799, 800, 300):
                sound.seek(frame)
                np.testing.assert_array_equal(sound.read(60)[:, 0], samples[frame : frame + 60])

    def test_a_file_that_is_cut_meanwhile_ends_with_its_last_whole_frame(self) -> None:
        path = self.put(wav(SAMPLES, channels=2))
        with opened(path) as sound:
            os.truncate(path, HEADER + 4 * 10 + 3)
            self.assertEqual(sum(len(block) for block in blocks(sound, path, 7)), 10)

    def test_the_longest(self) -> None:
        """Without its samples on the disk: a file with a hole."""
        for size, plain in ((LONGEST // 4 * 4, True), (LONGEST // 4 * 4 + 4, False)):
            path = self.put(wav(b""))
            with path.open("r+b") as file:
                file.truncate(HEADER + size)
                for at, value in ((4, size + 36), (40, size)):
                    file.seek(at)
                    file.write(struct.pack("<I", value & 0xFFFFFFFF))
            with opened(path) as sound, soundfile.SoundFile(path) as expected:
                self.assertIs(isinstance(sound, PlainSource), plain)
                self.assertEqual(sound.frames, expected.frames)


class WritingTests(AudioTestCase):
    @settings(deadline=None)  # it writes files
    @given(
        samples=arrays.arrays(np.int16, st.tuples(st.integers(0, 60), st.integers(1, 2))),
        rate=st.sampled_from([8000, 11025, 16000, 48000]),
        block=st.integers(1, 70),
    )
    def test_what_libsndfile_would_write(self, samples: NDArray[np.int16], rate: int, block: int) -> None:
        output, channels = self.directory / "out.wav", samples.shape[1]
        given_blocks = [samples[start : start + block] for start in range(0, len(samples), block)]
        write_wav(given_blocks, output, rate, channels)
        self.assertEqual(output.read_bytes(), self.write("theirs.wav", samples, rate).read_bytes())
        write_raw(given_blocks, output)
        self.assertEqual(output.read_bytes(), samples.astype("<i2").tobytes())

    def test_columns_of_something_wider(self) -> None:
        wide = np.stack((tone(440, 0.1), tone(880, 0.1)), axis=1)
        write_wav([wide[:, 1:]], self.directory / "out.wav", 8000, 1)
        np.testing.assert_array_equal(self.read(self.directory / "out.wav"), wide[:, 1:])

    def test_more_than_a_wav_can_hold_is_a_fault_and_leaves_nothing(self) -> None:
        leg, output = self.write("a.wav", tone(440, 1)), self.directory / "out"
        self.patch(module, "LONGEST", 31_999)
        with self.assertRaisesRegex(AudioError, "longer than a WAV file can be"):
            join(leg, leg, output, RecordChannels.DUAL, WAV)
        self.assertFalse(output.exists())
        self.assertEqual(join(leg, leg, output, RecordChannels.MONO, WAV).frames, 8000)
        self.assertEqual(join(leg, leg, output, RecordChannels.MONO, FORMATS["sln"]).frames, 8000)
