"""Tests of voxrec.api.audio.audio_inspection, over REST."""

import hashlib
import io
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import soundfile
from twisted.internet.defer import Deferred, DeferredList

from tests.api.audio.audio_test_case import AudioTestCase, two_tones
from tests.api.rest_test_case import AUDIO_LIMIT, CREATED_AT
from tests.subtest import subtest
from voxrec.model import RecordingState


class RepeatedUploadTests(AudioTestCase):
    """A client that did not receive the response sends the request again."""

    async def test_repeated_upload_gets_the_first_response(self) -> None:
        profile = await self.add_profile()
        recording = await self.add_recording(profile_id=profile.id, state=RecordingState.PENDING)
        prompt = (await self.request("PUT", "/prompts", json={})).json
        for path in (f"/recordings/{recording.id}/audio", f"/prompts/{prompt['id']}/audio"):
            with subtest(path):
                current = await self.request("GET", path.removesuffix("/audio"))
                headers = {"Content-Type": "audio/wav", "Idempotency-Key": "k", "If-Match": current.etag}
                first = await self.request("PUT", path, data=two_tones(), headers=headers)
                again = await self.request("PUT", path, data=two_tones(), headers=headers)
                self.assertEqual((first.status, again.status, again.body), (200, 200, first.body), again.body)
                self.assertEqual(again.etag, first.etag)
                other = await self.request("PUT", path, data=two_tones(seconds=2), headers=headers)
                self.assertEqual((other.status, other.json["code"]), (422, "idempotency-key-reused"))
                for wrong in ({"Idempotency-Key": "k2"}, {"If-Match": '"x"', "Idempotency-Key": "k3"}):
                    refused = await self.request("PUT", path, data=two_tones(), headers={**headers, **wrong})
                    self.assertIn(refused.status, (409, 412))
        self.assertEqual(len(self.files()), 1)

    async def test_deletion_erases_the_stored_response(self) -> None:
        """It contains the numbers of the parties. The path of the upload may have the id in another letter case."""
        recording = await self.add_recording(state=RecordingState.PENDING, from_="+4930123")
        path = f"/recordings/{str(recording.id).upper()}"
        headers = {"Content-Type": "audio/wav", "Idempotency-Key": "k"}
        self.assertEqual((await self.request("PUT", f"{path}/audio", data=two_tones(), headers=headers)).status, 200)
        self.assertEqual((await self.request("DELETE", path)).status, 204)
        self.assertEqual(await self.pool.query("SELECT fingerprint, body FROM idempotency"), [("", None)])
        again = await self.request("PUT", f"{path}/audio", data=two_tones(), headers=headers)
        self.assertEqual((again.status, again.json["code"]), (409, "deleted-since"))

    async def test_parallel_uploads(self) -> None:
        recording = await self.add_pending()
        uploads = [
            Deferred.fromCoroutine(self.upload(recording, two_tones(), headers={"Idempotency-Key": "k"}))
            for _ in range(4)
        ]
        responses = [response for _, response in await DeferredList(uploads)]
        self.assertIn(200, {response.status for response in responses})
        for response in responses:
            if response.status != 200:
                self.assertEqual((response.status, response.json["code"]), (409, "under-way"))
        again = await self.upload(recording, two_tones(), headers={"Idempotency-Key": "k"})
        self.assertEqual((again.status, again.json["state"]), (200, "completed"))


class VerdictTests(AudioTestCase):
    async def check_verdict(self, content: bytes, *reasons: str, truncated: bool = False, **fields: Any) -> Any:
        recording = await self.add_recording(state=RecordingState.PENDING, **fields)
        response = await self.upload(recording, content)
        self.assertEqual((response.status, response.json["state"]), (200, "completed"), response.body)
        verdict = response.json["verdict"]
        self.assertEqual((verdict["reasons"], verdict["truncated"]), ([*reasons], truncated))
        self.assertEqual(verdict["ok"], not reasons)
        return verdict

    async def test_complete_audio(self) -> None:
        for form in ("WAV", "FLAC", "MP3", "OGG"):
            with subtest(form):
                verdict = await self.check_verdict(two_tones(form))
                self.assertApproximates(verdict["caller"]["speechSeconds"], 1.0, 0.1)
                self.assertApproximates(verdict["callee"]["levelDbfs"], -13.5, 0.5)
        verdict = await self.check_verdict(two_tones(channels=1))
        self.assertEqual((verdict["caller"], verdict["callee"]), (None, None))

    async def test_truncated_file(self) -> None:
        wav, mono = two_tones(), two_tones(channels=1)
        au = io.BytesIO()
        soundfile.write(au, np.frombuffer(mono[44:], "<i2"), 8000, format="AU", subtype="ULAW")
        for name, content in (
            ("half", wav[: len(wav) // 2]),
            ("one byte", wav[:-1]),
            ("almost everything", wav[:300]),
            ("one channel", mono[:-4000]),
            ("with a chunk before the audio", with_chunk(wav)[:-2000]),
            ("au", au.getvalue()[:-4000]),
            ("ogg", two_tones("OGG", seconds=30)[:-9000]),
        ):
            with subtest(name):
                reasons = ("silent", "truncated") if len(content) == 300 else ("truncated",)
                await self.check_verdict(content, *reasons, truncated=True)

    async def test_size_that_a_pipe_left_open(self) -> None:
        content = bytearray(two_tones())
        for size in (0xFFFFFFFF, 0x7FFFF000):
            content[40:44] = size.to_bytes(4, "little")
            with subtest(hex(size)):
                await self.check_verdict(bytes(content))

    async def test_chunk_behind_the_audio(self) -> None:
        await self.check_verdict(two_tones() + b"LIST\x04\0\0\0INFO")

    async def test_shorter_than_the_call(self) -> None:
        times = {"started_at": CREATED_AT, "ended_at": CREATED_AT + timedelta(seconds=3)}
        await self.check_verdict(two_tones(), "truncated", truncated=True, **times)

    async def test_speech(self) -> None:
        file = io.BytesIO()
        soundfile.write(file, np.zeros((8000, 2)), 8000, format="WAV")
        await self.check_verdict(file.getvalue(), "silent")
        file = io.BytesIO()
        soundfile.write(file, np.zeros(8000), 8000, format="WAV")
        await self.check_verdict(file.getvalue(), "silent")
        left = np.frombuffer(two_tones()[44:], "<i2").reshape(-1, 2) * np.array([1, 0], "<i2")
        file = io.BytesIO()
        soundfile.write(file, left.astype("<i2"), 8000, format="WAV")
        await self.check_verdict(file.getvalue(), "one-way audio: callee silent", "no signal: callee")


def with_chunk(wav: bytes) -> bytes:
    """Return a WAV file with a chunk of odd size before its audio."""
    return wav[:12] + b"note\x03\0\0\0abc\0" + wav[12:]


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

    async def test_profile_decides_when_a_recording_without_expiry_expires(self) -> None:
        """It was created by an earlier version, or before the Profile had a retention period."""
        profile = await self.add_profile(retention_days=30)
        for expires_at, expected in (
            (None, CREATED_AT + timedelta(days=30)),
            (CREATED_AT + timedelta(days=7), CREATED_AT + timedelta(days=7)),
        ):
            recording = await self.add_recording(
                profile_id=profile.id, state=RecordingState.PENDING, expires_at=expires_at
            )
            response = await self.upload(recording, two_tones())
            self.assertEqual(datetime.fromisoformat(response.json["expiresAt"]), expected)
        of_deleted_profile = await self.add_recording(state=RecordingState.PENDING)
        self.assertIsNone((await self.upload(of_deleted_profile, two_tones())).json["expiresAt"])

    async def test_refused_uploads_leave_no_file(self) -> None:
        recording = await self.add_pending()
        rows: tuple[tuple[str, bytes, dict[str, Any], int, str], ...] = (
            ("text", b"x", {"content_type": "text/plain"}, 415, "unsupported-media-type"),
            ("not audio", b"RIFF" + b"\0" * 999, {}, 422, "not-audio"),
            ("truncated", two_tones("FLAC")[:-900], {}, 422, "not-audio"),
            ("truncated MP3", two_tones("MP3", seconds=5)[:-9000], {}, 422, "not-audio"),
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
