"""Tests of voxrec.audio.probe."""

from tests.audio.fixtures import AudioTestCase, silence, tone
from voxrec.audio.probe import AudioInfo, probe
from voxrec.errors import AudioError


class ProbeTests(AudioTestCase):
    def test_properties(self) -> None:
        info = probe(self.write("a.wav", tone(440, 1.5)))
        self.assertEqual(info, AudioInfo(12000, 8000, 1, "WAV", "PCM_16"))
        self.assertEqual(info.duration, 1.5)

    def test_other_containers(self) -> None:
        info = probe(self.write("a.flac", tone(440, 0.5, rate=16000), rate=16000))
        self.assertEqual((info.container, info.rate, info.duration), ("FLAC", 16000, 0.5))

    def test_file_with_header_only(self) -> None:
        self.assertEqual(probe(self.write("a.wav", silence(0))).frames, 0)

    def test_errors_have_the_path_and_the_reason(self) -> None:
        valid = self.write("valid.wav", tone(440, 0.1)).read_bytes()
        cases = {
            "missing.wav": (None, "missing"),
            "empty.wav": (b"", "is empty"),
            "truncated.wav": (valid[:30], "data' chunk"),
            "short.wav": (valid[:10], "not recognised"),
            "other.wav": (b"From the keyboard, not the microphone. " * 9, "not recognised"),
        }
        for name, (content, reason) in cases.items():
            with self.subTest(name):
                path = self.directory / name
                if content is not None:
                    path.write_bytes(content)
                with self.assertRaises(AudioError) as caught:
                    probe(path)
                self.assertIn(str(path), caught.exception.detail)
                self.assertIn(reason, caught.exception.detail)
