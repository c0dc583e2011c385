"""A Recording's waveform over REST, as numbers and as an image."""

import io

import numpy as np
import soundfile
from PIL import Image

from tests.api.rest_test_case import RestTestCase
from tests.audio.fixtures import silence, tone
from tests.subtest import subtest
from voxrec.api.audio.audio_files import AudioDamaged


def alternating_sides() -> bytes:
    """Return two seconds of audio: the caller speaks in the first, the far end in the second."""
    file = io.BytesIO()
    sides = np.concatenate((tone(440, 1), silence(1))), np.concatenate((silence(1), tone(440, 1)))
    soundfile.write(file, np.stack(sides, axis=1), 8000, format="WAV", subtype="PCM_16")
    return file.getvalue()


class PeaksTests(RestTestCase):
    async def test_samples_and_conditional_get(self) -> None:
        recording = await self.add_audio(alternating_sides(), channels=2, duration=2.0)
        response = await self.request("GET", f"/recordings/{recording.id}/peaks?points=4", token="read")
        expected = {
            "channels": 2,
            "rate": 2.0,
            "peaks": [[[-32, 31]] * 2 + [[0, 0]] * 2, [[0, 0]] * 2 + [[-32, 31]] * 2],
        }
        self.assertEqual((response.status, response.json), (200, expected))
        path = f"/recordings/{recording.id}/peaks"
        unchanged = await self.request("GET", f"{path}?points=4", headers={"If-None-Match": response.etag})
        self.assertEqual((unchanged.status, unchanged.body), (304, b""))
        other = await self.request("GET", f"{path}?points=5", headers={"If-None-Match": response.etag})
        self.assertEqual(other.status, 200)

    async def test_image(self) -> None:
        recording = await self.add_audio(alternating_sides(), channels=2, duration=2.0)
        response = await self.request("GET", f"/recordings/{recording.id}/peaks.png?points=100", token="read")
        self.assertEqual((response.status, response.headers["content-type"]), (200, "image/png"))
        opaque = np.asarray(Image.open(io.BytesIO(response.body)).convert("RGBA"))[:, :, 3] == 255
        self.assertEqual(opaque.shape[1], 100)
        upper, lower = np.array_split(opaque, 2)
        for row, first, second in ((upper, True, False), (lower, False, True)):
            self.assertEqual([bool(row[:, :49].any()), bool(row[:, 51:].any())], [first, second])

    async def test_invalid_parameters_and_damaged_audio(self) -> None:
        recording = await self.add_audio(alternating_sides())
        for query in ("points=0", "points=4001", "points=x", "width=3"):
            with subtest(query):
                self.assertEqual((await self.request("GET", f"/recordings/{recording.id}/peaks?{query}")).status, 422)
        recording = await self.add_audio(b"no audio at all")
        self.assertEqual((await self.request("GET", f"/recordings/{recording.id}/peaks")).status, 500)
        self.assertEqual(len(self.flushLoggedErrors(AudioDamaged)), 1)
