"""Tests of voxrec.api.audio_uploads, over REST."""

import hashlib
from typing import Any

from tests.api.audio_test_case import AudioTestCase, two_tones
from tests.api.rest_test_case import AUDIO_LIMIT
from tests.subtest import subtest
from voxrec.model import RecordingState


class UploadTests(AudioTestCase):
    async def test_audio_is_stored_unchanged(self) -> None:
        for form, name, suffix in (("WAV", "wav", "wav"), ("FLAC", "flac", "flac"), ("MP3", "mp3", "mp3")):
            with subtest(form):
                recording = await self.add_pending()
                content = two_tones(form)
                response = await self.upload(recording, content, "application/octet-stream")
                self.assertEqual(response.status, 200, response.json)
                shown = {key: response.json[key] for key in ("state", "format", "channels", "size", "sha256")}
                digest = hashlib.sha256(content).hexdigest()
                self.assertEqual(
                    shown,
                    {"state": "completed", "format": name, "channels": 2, "size": len(content), "sha256": digest},
                )
                self.assertAlmostEqual(response.json["duration"], 1.0, places=1)
                download = await self.request("GET", f"/recordings/{recording.id}/audio")
                self.assertTrue(download.body == content)
                self.assertIn(f'{recording.id}.{suffix}"', download.headers["content-disposition"])
                again = await self.upload(recording, content)
                self.assertEqual((again.status, again.json["code"]), (409, "not-pending"))
        self.assertEqual(len(self.files()), 3)

    async def test_refused_uploads_leave_no_file(self) -> None:
        recording = await self.add_pending()
        rows: tuple[tuple[str, bytes, dict[str, Any], int, str], ...] = (
            ("text", b"x", {"content_type": "text/plain"}, 415, "unsupported-media-type"),
            ("not audio", b"RIFF" + b"\0" * 999, {}, 422, "not-audio"),
            ("truncated", two_tones("FLAC")[:-900], {}, 422, "not-audio"),
            ("three channels", two_tones(channels=3), {}, 422, "not-audio"),
            ("unsupported format", two_tones("AIFF"), {}, 422, "not-audio"),
            ("too large", b"\0" * (AUDIO_LIMIT + 1), {}, 413, "too-large"),
            ("another version", two_tones(), {"headers": {"If-Match": '"x"'}}, 412, "precondition-failed"),
            ("role read", two_tones(), {"token": "read"}, 403, "not-allowed"),
            ("no token", two_tones(), {"token": ""}, 401, "not-authenticated"),
        )
        for name, content, options, status, code in rows:
            with subtest(name):
                response = await self.upload(recording, content, **options)
                self.assertEqual((response.status, response.json["code"]), (status, code), response.json)
                self.assertEqual(self.files(), [])
        self.assertEqual((await self.recordings.get(recording.id)).state, RecordingState.PENDING)
        self.assertEqual((await self.upload(recording, two_tones())).status, 200)

    async def test_only_pending_recordings_accept_audio(self) -> None:
        for state in RecordingState:
            with subtest(state):
                response = await self.upload(await self.add_recording(state=state), two_tones())
                self.assertEqual(response.status, 200 if state is RecordingState.PENDING else 409)
