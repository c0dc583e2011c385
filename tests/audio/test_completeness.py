"""Tests of voxrec.audio.completeness."""

import soundfile

from tests.audio.fixtures import RATE, AudioTestCase, tone
from tests.subtest import subtest
from voxrec.audio.completeness import is_truncated


class IsTruncatedTests(AudioTestCase):
    def test_every_container(self) -> None:
        for container, endian in (
            *(("WAV", "FILE"), ("WAV", "BIG"), ("WAVEX", "FILE"), ("RF64", "FILE")),
            *(("AIFF", "FILE"), ("AU", "BIG"), ("AU", "LITTLE")),
        ):
            with subtest((container, endian)):
                path = self.directory / "audio"
                soundfile.write(path, tone(440, 1), RATE, format=container, subtype="PCM_16", endian=endian)
                content = path.read_bytes()
                self.assertFalse(is_truncated(path))
                for missing in (1, 1000):
                    path.write_bytes(content[:-missing])
                    self.assertTrue(is_truncated(path))

    def test_ogg(self) -> None:
        path = self.directory / "audio"
        for subtype in ("VORBIS", "OPUS"):
            soundfile.write(path, tone(440, 30), RATE, format="OGG", subtype=subtype)
            content = path.read_bytes()
            last_page = content.rindex(b"OggS")
            self.assertFalse(is_truncated(path))
            for end in (-1, -1000, last_page, last_page + 20, last_page + 30, 100, 4):
                with subtest((subtype, end)):
                    path.write_bytes(content[:end])
                    self.assertTrue(is_truncated(path))

    def test_other_files(self) -> None:
        path = self.directory / "other"
        for content in (b"", b"RIF", b"RIFF", b"RIFF\0\0\0\0WAVEda", b".snd\0", b"fLaC" + b"\xff" * 50, b"data" * 9):
            with subtest(content):
                path.write_bytes(content)
                self.assertFalse(is_truncated(path))
