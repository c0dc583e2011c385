"""Tests of audio that only an S3 store has, over REST, with a real store."""

import hashlib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
from twisted.internet.threads import deferToThread

from tests import s3_server
from tests.api.audio.audio_test_case import AudioTestCase, two_tones
from tests.api.rest_test_case import ClientResponse
from tests.store.samples import profile
from voxrec.api.audio.audio_files import AudioDamaged
from voxrec.archive.interface import ObjectLock
from voxrec.archive.local import LocalArchive
from voxrec.archive.s3 import S3Store
from voxrec.archive.s3_archive import S3Archive
from voxrec.model import JobKind, Recording, StoredObject
from voxrec.postgres.transaction import Transaction
from voxrec.store.recordings import Recordings
from voxrec.store.upload_queue import enqueue_upload

AUDIO = two_tones()


class S3AudioTestCase(AudioTestCase):
    redirect_seconds: int | None = None
    shared = True

    def make_archive(self) -> LocalArchive:
        self.bucket = s3_server.new_bucket()
        self.store = s3_server.store()
        return S3Archive(
            self.make_directory(),
            self.store,
            self.make_directory(),
            deferToThread,
            self.recordings.get,
            shared=self.shared,
            redirect_seconds=self.redirect_seconds,
        )

    async def stored(self, content: bytes = AUDIO) -> Recording:
        """Import audio, store it in S3 and remove the local file, as the upload job does."""
        recording = await self.add_pending()
        self.assertEqual((await self.upload(recording, content)).status, 200)
        recording = await self.recordings.get(recording.id)
        source = self.archive.locate(recording.path or "")
        target = StoredObject(bucket=self.bucket, key=recording.path or "")
        stored = await deferToThread(self.store.upload, source, target, recording.sha256, "audio/x-wav", ObjectLock())
        self.archive.delete(recording.path or "")
        return await self.recordings.set_stored_object(recording.id, stored)

    async def get(self, recording: Recording, query: str = "", **headers: str) -> ClientResponse:
        return await self.request(
            "GET", f"/recordings/{recording.id}/audio{query}", headers=headers, allow_redirects=False
        )


class ProxyTests(S3AudioTestCase):
    async def test_whole_file(self) -> None:
        recording = await self.stored()
        response = await self.get(recording)
        self.assertEqual((response.status, response.body), (200, AUDIO))
        self.assertEqual(response.headers["content-type"], "audio/wav")
        self.assertEqual(response.etag, f'"{hashlib.sha256(AUDIO).hexdigest()}"')
        self.assertEqual(response.headers["accept-ranges"], "bytes")

    async def test_ranges(self) -> None:
        recording = await self.stored()
        size = len(AUDIO)
        for requested, start, end in (("0-9", 0, 10), (f"{size - 5}-", size - 5, size), ("-7", size - 7, size)):
            response = await self.get(recording, Range=f"bytes={requested}")
            self.assertEqual((response.status, response.body), (206, AUDIO[start:end]))
            self.assertEqual(response.headers["content-range"], f"bytes {start}-{end - 1}/{size}")
        self.assertEqual((await self.get(recording, Range=f"bytes={size}-")).status, 416)

    async def test_head(self) -> None:
        recording = await self.stored()
        response = await self.request("HEAD", f"/recordings/{recording.id}/audio")
        self.assertEqual((response.status, response.headers["content-length"]), (200, str(len(AUDIO))))
        self.assertEqual((await self.request("HEAD", f"/recordings/{recording.id}/audio?format=ogg")).status, 200)

    async def test_conversion_and_waveform_leave_no_file(self) -> None:
        recording = await self.stored()
        for query in ("?format=ogg", "?format=flac", "?channel=caller"):
            response = await self.get(recording, query)
            self.assertEqual(response.status, 200, response.body)
        response = await self.request("GET", f"/recordings/{recording.id}/peaks?points=10")
        self.assertEqual((response.status, len(response.json["peaks"])), (200, 2))
        self.assertEqual(self.remaining(), [])

    def remaining(self) -> list[Path]:
        directory = self.archive._work_directory  # type: ignore[attr-defined]
        return [*self.files_below(directory), *self.files_below(self.archive.root)]

    def files_below(self, directory: Path) -> list[Path]:
        return [path for path in directory.rglob("*") if path.is_file()]

    async def test_file_was_uploaded_since_the_row_was_read(self) -> None:
        recording = await self.stored()
        get = self.recordings.get
        stale = [msgspec.structs.replace(recording, stored_object=None)]

        async def get_stale(recording_id: Any) -> Recording:
            return stale.pop() if stale else await get(recording_id)

        self.patch(Recordings, "get", lambda _self, recording_id: get_stale(recording_id))
        self.assertEqual((await self.get(recording)).body, AUDIO)

    async def test_missing_object(self) -> None:
        recording = await self.stored()
        s3_server.client().delete_object(Bucket=self.bucket, Key=recording.path)
        for method, query in (("GET", ""), ("HEAD", ""), ("GET", "?format=ogg")):
            response = await self.request(method, f"/recordings/{recording.id}/audio{query}")
            self.assertEqual(response.status, 500)
        self.assertEqual((await self.get(recording)).json["code"], "audio-damaged")
        self.assertEqual(len(self.flushLoggedErrors(AudioDamaged)), 4)

    async def test_store_is_down(self) -> None:
        recording = await self.stored()
        self.archive._store = S3Store(s3_server.settings("http://127.0.0.1:1", timeout=1.0))  # type: ignore[attr-defined]
        for path in ("audio", "audio?format=ogg", "peaks"):
            response = await self.request("GET", f"/recordings/{recording.id}/{path}")
            self.assertEqual((response.status, response.json["code"]), (503, "archive-unavailable"))

    async def test_large_object(self) -> None:
        content = two_tones(seconds=50.0)
        self.assertGreater(len(content), 10 * 131_072)  # blocks
        self.assertEqual((await self.get(await self.stored(content))).body, content)


class RedirectTests(S3AudioTestCase):
    redirect_seconds = 60

    async def test_redirection_to_a_signed_url(self) -> None:
        recording = await self.stored()
        response = await self.get(recording, Range="bytes=0-9")
        self.assertEqual(response.status, 302)
        self.assertEqual(response.headers["cache-control"], "private, no-store")
        url = urlsplit(response.headers["location"])
        self.assertEqual(url.netloc, urlsplit(s3_server.server().endpoint).netloc)
        self.assertIn("X-Amz-Expires=60", url.query)

    async def test_head_is_answered_by_voxrec(self) -> None:
        recording = await self.stored()
        response = await self.request("HEAD", f"/recordings/{recording.id}/audio")
        self.assertEqual((response.status, response.headers["content-length"]), (200, str(len(AUDIO))))

    async def test_local_file_is_sent(self) -> None:
        recording = await self.add_pending()
        await self.upload(recording, AUDIO)
        self.assertEqual((await self.get(await self.recordings.get(recording.id))).body, AUDIO)


class NodeTests(S3AudioTestCase):
    shared = False

    async def test_audio_that_another_node_has_not_uploaded_yet(self) -> None:
        recording = await self.add_pending()
        await self.upload(recording, AUDIO)
        recording = await self.recordings.get(recording.id)
        self.archive.root.joinpath(recording.path or "").unlink()
        response = await self.get(recording)
        self.assertEqual((response.status, response.json["code"]), (503, "archive-unavailable"))


async def _enqueue_upload(transaction: Transaction, recording: Recording) -> None:
    await enqueue_upload(transaction, recording, None)


class ImportTests(S3AudioTestCase):
    enqueue_upload = staticmethod(_enqueue_upload)

    async def test_upload_follows_an_import(self) -> None:
        owner = await self.profiles.create(profile(archive_bucket="own-bucket"))
        recording = await self.add_recording(state="pending", profile_id=owner.id)
        await self.upload(recording, AUDIO)
        jobs = {job.kind: job for job in await self.jobs.page()}
        self.assertEqual(jobs[JobKind.UPLOAD].target, "own-bucket")
