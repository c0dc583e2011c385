"""Base class of the tests that upload or convert audio over REST."""

import io
from typing import Any, Final

import numpy as np
import soundfile

from tests.api.rest_test_case import ClientResponse, RestTestCase
from voxrec.model import Recording, RecordingState

RATE: Final = 8000


def two_tones(form: str = "WAV", seconds: float = 1.0, rate: int = RATE, channels: int = 2) -> bytes:
    """Return audio with 440 Hz on the left channel, 1000 Hz on the right, and 1500 Hz on a third one."""
    time = np.arange(round(seconds * rate)) / rate
    tones = [0.3 * np.sin(2 * np.pi * hertz * time) for hertz in (440, 1000, 1500)]
    file = io.BytesIO()
    soundfile.write(file, np.stack(tones[:channels], axis=1), rate, format=form)
    return file.getvalue()


class AudioTestCase(RestTestCase):
    """Uploads audio, and lists the files that exist because of it."""

    async def add_pending(self) -> Recording:
        return await self.add_recording(state=RecordingState.PENDING)

    async def upload(
        self, recording: Recording, content: bytes, content_type: str = "audio/wav", **options: Any
    ) -> ClientResponse:
        headers = {"Content-Type": content_type, **options.pop("headers", {})}
        return await self.request("PUT", f"/recordings/{recording.id}/audio", data=content, headers=headers, **options)

    def files(self) -> list[str]:
        """Return the names of the files in the archive and in the upload directory."""
        roots = [self.archive._root, self.upload_directory]
        return sorted(path.name for root in roots if root.exists() for path in root.rglob("*") if path.is_file())
