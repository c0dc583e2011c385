"""Tests of voxrec.web.uploads."""

import os
import tempfile
import time
from pathlib import Path
from uuid import UUID

from twisted.trial.unittest import SynchronousTestCase

from tests.api.audio.audio_test_case import AudioTestCase, two_tones
from tests.api.rest_test_case import AUDIO_LIMIT, BODY_LIMIT
from tests.database import until
from tests.subtest import subtest
from tests.web.raw_connection import open_connection, send_raw
from voxrec.model import RecordingState
from voxrec.web.errors import TooLarge
from voxrec.web.uploads import UploadFile, UploadUnavailable, remove_stale_files


class InterruptedUploadTests(AudioTestCase):
    async def test_client_that_disconnects_during_the_upload(self) -> None:
        recording = await self.add_pending()
        connection = await open_connection(self.port)
        connection.transport.write(
            f"PUT /recordings/{recording.id}/audio HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer admin\r\n"
            "Content-Type: audio/wav\r\nContent-Length: 500000\r\n\r\n".encode()
            + b"\0" * 200_000
        )
        await until(self.files)
        connection.transport.abortConnection()
        await connection.closed
        await until(lambda: not self.files())
        self.assertEqual((await self.recordings.get(recording.id)).state, RecordingState.PENDING)

    async def test_unauthenticated_upload_is_not_stored(self) -> None:
        recording = await self.add_pending()
        connection = await open_connection(self.port)
        connection.transport.write(
            f"PUT /recordings/{recording.id}/audio HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer wrong\r\n"
            "Content-Type: audio/wav\r\nContent-Length: 1000000\r\nConnection: close\r\n\r\n".encode()
        )
        self.assertIn(b"401", await connection.closed)  # before the body is sent
        await until(lambda: not self.files())


class RequestLineTests(AudioTestCase):
    """Requests that Klein routes to an upload are uploads, however they are written."""

    async def upload_by(self, request_line: str) -> int:
        content = two_tones()
        response = await send_raw(
            self.port,
            f"{request_line} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer admin\r\nContent-Type: audio/wav\r\n"
            f"Content-Length: {len(content)}\r\nConnection: close\r\n\r\n".encode()
            + content,
        )
        return int(response.split(b" ")[1])

    async def test_percent_encoded_path_and_absolute_url(self) -> None:
        for prefix, name in (("", "%61udio"), ("http://rec.example", "audio"), ("http://rec.example", "audi%6F")):
            recording = await self.add_pending()
            with subtest((prefix, name)):
                self.assertEqual(await self.upload_by(f"PUT {prefix}/recordings/{recording.id}/{name}"), 200)
                self.assertEqual((await self.recordings.get(recording.id)).state, RecordingState.COMPLETED)

    async def test_the_path_in_the_audit_log(self) -> None:
        recording = await self.add_pending()
        self.assertEqual(await self.upload_by(f"PUT /%72ecordings/{recording.id}/%61udio"), 200)
        (entry,) = await self.audit.page()
        self.assertEqual(entry.path, f"/recordings/{recording.id}/audio")

    async def test_refused(self) -> None:
        recording = await self.add_pending()
        for method, path, status in (
            ("put", f"/recordings/{recording.id}/audio", 400),
            ("PUT", f"/recordings/{recording.id}%2Faudio", 404),
            ("PUT", f"xrecordings/{recording.id}/audio", 400),
        ):
            with subtest((method, path)):
                self.assertEqual(await self.upload_by(f"{method} {path}"), status)
        self.assertEqual(self.files(), [])


class ExpectContinueTests(AudioTestCase):
    """A client that waits for 100 Continue does not send a body that is refused anyway."""

    async def head(self, method: str, path: str, media_type: str, length: int, token: str) -> bytes:
        """Return what is received until the server wants the body, or closes the connection."""
        connection = await open_connection(self.port)
        connection.transport.write(
            f"{method} {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nContent-Type: {media_type}\r\n"
            f"Content-Length: {length}\r\nExpect: 100-continue\r\n\r\n".encode()
        )
        await until(lambda: connection.received.endswith(b"Continue\r\n\r\n") or connection.closed.called)
        connection.transport.abortConnection()
        await connection.closed
        return connection.received

    async def test_statuses(self) -> None:
        recording, profile = await self.add_pending(), await self.add_profile()
        audio, other = ("PUT", f"/recordings/{recording.id}/audio", "audio/wav"), ("POST", f"/profiles/{profile.id}")
        for request, length, token, status in (
            (audio, 1000, "admin", 100),
            (audio, 1000, "wrong", 401),
            (audio, 1000, "read", 403),
            (audio, AUDIO_LIMIT + 1, "admin", 413),
            (audio, AUDIO_LIMIT + 1, "wrong", 401),
            ((*other, "application/json"), BODY_LIMIT, "admin", 100),
            ((*other, "application/json"), BODY_LIMIT + 1, "admin", 413),
        ):
            with subtest((request, length, token)):
                received = await self.head(*request, length, token)
                self.assertEqual(int(received.split(b" ")[1]), status, received)
                self.assertEqual(received.count(b"HTTP/1.1"), 1)
        await until(lambda: not self.files())


class UploadFileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.upload = UploadFile(self.directory, 10)

    def test_file_is_kept_until_it_is_discarded(self) -> None:
        self.upload.write(b"12345")
        self.upload.write(b"67890")
        self.upload.detach()
        self.upload.close()
        self.upload.require_complete()
        self.assertEqual((self.upload.size, self.upload.path.read_bytes()), (10, b"1234567890"))
        self.upload.discard()
        self.assertEqual(list(self.directory.iterdir()), [])

    def test_file_is_removed_when_the_request_ends_early(self) -> None:
        self.upload.write(b"12345")
        self.upload.close()
        self.assertEqual(list(self.directory.iterdir()), [])

    def test_body_beyond_the_maximum_size(self) -> None:
        self.addCleanup(self.upload.discard)
        self.upload.write(b"x" * 100)
        self.upload.detach()
        self.assertEqual((self.upload.size, self.upload.path.stat().st_size), (11, 11))
        self.assertRaises(TooLarge, self.upload.require_complete)

    def test_nothing_is_stored_if_the_content_length_is_too_large(self) -> None:
        self.addCleanup(self.upload.discard)
        self.upload.set_content_length(11)
        self.upload.write(b"x" * 11)
        self.upload.detach()
        self.assertEqual(self.upload.path.stat().st_size, 0)
        self.assertRaises(TooLarge, self.upload.require_complete)

    def test_directory_that_cannot_be_created(self) -> None:
        upload = UploadFile(Path("/proc/no/such/directory"), 10)
        upload.write(b"x")
        upload.detach()
        self.assertRaises(UploadUnavailable, upload.require_complete)
        upload.discard()


class StaleFilesTests(SynchronousTestCase):
    def test_files_without_a_write_for_a_day_are_removed(self) -> None:
        """The directory has uploads and unfinished recordings. The latter stay if their Recording was deleted."""
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        names = "upload-x7k2", f"{UUID(int=1)}-0123456789abcdef-joined.wav"
        for age in (86000, 87000):
            for name in names:
                path = Path(directory.name, f"{name}-{age}")
                path.touch()
                os.utime(path, times=(0, time.time() - age))
        remove_stale_files(Path(directory.name))
        self.assertEqual({path.name for path in Path(directory.name).iterdir()}, {f"{name}-86000" for name in names})

    def test_missing_directory(self) -> None:
        remove_stale_files(Path("/nowhere/at/all"))
