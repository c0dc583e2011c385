"""Tests of voxrec.archive.s3_archive and voxrec.archive.local with a file system that does not respond."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.store.samples import NOON, recording
from voxrec.archive.local import LocalArchive
from voxrec.archive.s3_archive import S3Archive
from voxrec.model import Recording, StoredObject

PATH = "2026/05/06/audio.wav"


class UnresponsiveFileSystemTests(SynchronousTestCase):
    """What looks at the file system runs in a thread: the reactor, and thereby all calls, must not wait for it."""

    def setUp(self) -> None:
        self.root = Path(self.mktemp())
        file = self.root / PATH
        file.parent.mkdir(parents=True)
        file.write_bytes(b"audio")
        self.waiting: list[Callable[[], None]] = []

    def defer_to_thread(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Deferred[Any]:
        result: Deferred[Any] = Deferred()
        self.waiting.append(lambda: result.callback(function(*args, **kwargs)))
        return result

    def respond(self) -> None:
        self.waiting.pop()()

    def s3_archive(self) -> S3Archive:
        async def reread(_id: object) -> Recording:
            raise AssertionError("the file exists")

        return S3Archive(
            self.root,
            None,  # type: ignore[arg-type]
            self.root / ".work",
            None,  # type: ignore[arg-type]
            reread,
            defer_local_to_thread=self.defer_to_thread,
        )

    def test_location_of_the_audio(self) -> None:
        stored = StoredObject(bucket="bucket", key=PATH, stored_at=NOON)
        for path, is_local in ((PATH, True), ("2026/05/06/other.wav", False)):
            uploaded = recording(path=path, stored_object=stored)
            remote = Deferred.fromCoroutine(self.s3_archive().remote_audio(uploaded))
            self.assertNoResult(remote)
            self.respond()
            self.assertEqual(self.successResultOf(remote) is None, is_local)

    def test_local_file(self) -> None:
        for archive in (LocalArchive(self.root, self.defer_to_thread), self.s3_archive()):
            obtained = Deferred.fromCoroutine(archive.obtain(recording(path=PATH)))
            self.assertNoResult(obtained)
            self.respond()
            context = self.successResultOf(obtained)
            audio = self.successResultOf(Deferred.fromCoroutine(context.__aenter__()))
            self.assertEqual(audio.read_bytes(), b"audio")
            left = Deferred.fromCoroutine(context.__aexit__(None, None, None))
            if isinstance(archive, S3Archive):  # a temporary file, which is removed
                self.assertNoResult(left)
                self.respond()
                self.assertFalse(audio.exists())
            self.assertIsNone(self.successResultOf(left))
