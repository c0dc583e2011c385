"""Tests of uploads in parts: several parts at the same time, and stores whose completion is slow or fails."""

import base64
import hashlib
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from twisted.trial.unittest import SynchronousTestCase

from tests import s3_server
from tests.archive.hostile_server import Answer, HostileServer, error
from voxrec.archive import s3_parts
from voxrec.archive.interface import ObjectLock, StoreError, UploadCancelled
from voxrec.archive.s3 import S3Store
from voxrec.archive.s3_bodies import digest_of
from voxrec.archive.s3_parts import MAX_PARTS, PartSender
from voxrec.model import StoredObject

CONTENT = os.urandom(1000)
TARGET = StoredObject(bucket="bucket", key="2026/05/06/x.wav")
COMPLETED = b"<CompleteMultipartUploadResult><ETag>whole</ETag></CompleteMultipartUploadResult>"
FAILED = b"<Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>"


class FakeClient:
    """Receives parts, and calls ``on_part`` with the number of each before it has read it."""

    def __init__(self, on_part: Callable[[int], None] = lambda _number: None) -> None:
        self._on_part = on_part
        self._lock = threading.Lock()
        self._running = 0
        self.most_at_once = 0
        self.parts: dict[int, bytes] = {}

    def upload_part(self, **request: Any) -> dict[str, str]:
        with self._lock:
            self._running += 1
            self.most_at_once = max(self.most_at_once, self._running)
        try:
            self._on_part(request["PartNumber"])
            content = b""
            while block := request["Body"].read(30):
                content += block
            assert base64.b64encode(hashlib.sha256(content).digest()).decode() == request["ChecksumSHA256"]
            self.parts[request["PartNumber"]] = content
        finally:
            with self._lock:
                self._running -= 1
        return {"ETag": f"tag {request['PartNumber']}", "ChecksumSHA256": request["ChecksumSHA256"]}


class PartSenderTests(SynchronousTestCase):
    def setUp(self) -> None:
        path = Path(self.mktemp())
        path.write_bytes(CONTENT)
        self.file = path.open("rb")
        self.addCleanup(self.file.close)

    def sender(self, client: FakeClient, part_size: int = 100, check: Callable[[], None] = lambda: None) -> PartSender:
        where = {"Bucket": "b", "Key": "k", "UploadId": "u"}
        return PartSender(client, self.file, len(CONTENT), part_size, where, {}, check, threads=3)

    def test_as_many_parts_at_the_same_time_as_there_are_threads(self) -> None:
        """The first three parts wait for each other, so that they are sent only if that happens at the same time."""
        barrier = threading.Barrier(3)
        client = FakeClient(lambda number: (barrier.wait(30), None)[1] if number <= 3 else None)
        parts, digest = self.sender(client).send()
        self.assertEqual(client.most_at_once, 3)
        self.assertEqual([part.number for part in parts], list(range(1, 11)))
        self.assertEqual([part.etag for part in parts], [f"tag {number}" for number in range(1, 11)])
        self.assertTrue(all(part.confirmed for part in parts))
        self.assertEqual(b"".join(client.parts[number] for number in range(1, 11)), CONTENT)
        self.assertEqual(digest, hashlib.sha256(CONTENT).digest())

    def test_part_that_fails_ends_the_others(self) -> None:
        second_waits = threading.Event()

        def on_part(number: int) -> None:
            if number == 1:
                second_waits.wait(30)
                raise StoreError("refused", "AccessDenied")
            second_waits.set()

        client = FakeClient(on_part)
        before = threading.active_count()
        failure: StoreError = self.assertRaises(StoreError, self.sender(client).send)
        self.assertEqual(failure.reason, "AccessDenied")
        self.assertEqual(threading.active_count(), before)
        self.assertLess(len(client.parts), 10)

    def test_part_that_fails_ends_the_reading_of_the_file(self) -> None:
        """A large file takes minutes; until then, the other parts would be sent in vain."""
        failed = threading.Event()

        def on_part(_number: int) -> None:
            failed.set()
            raise StoreError("refused", "AccessDenied")

        def read(file: BinaryIO, start: int, length: int, check: Callable[[], None]) -> bytes:
            if length < len(CONTENT):  # by a thread that sends a part
                return digest_of(file, start, length, check)
            failed.wait(30)
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline:
                check()
            raise AssertionError("the reading goes on")

        self.patch(s3_parts, "digest_of", read)
        failure: StoreError = self.assertRaises(StoreError, self.sender(FakeClient(on_part)).send)
        self.assertEqual(failure.reason, "AccessDenied")

    def test_stop_ends_all_parts(self) -> None:
        def stop() -> None:
            raise UploadCancelled("voxrec is stopping", "Stopping")

        before = threading.active_count()
        self.assertRaises(UploadCancelled, self.sender(FakeClient(), check=stop).send)
        self.assertEqual(threading.active_count(), before)

    def test_largest_number_of_parts(self) -> None:
        """Parts become larger, since an object can have a limited number of them."""
        sparse = Path(self.mktemp())
        with sparse.open("wb") as file:
            file.truncate(25_000)
        with sparse.open("rb") as file:
            client = FakeClient()
            sender = PartSender(client, file, 25_000, 1, {}, {}, lambda: None, threads=2)
            parts, _ = sender.send()
        self.assertLessEqual(len(parts), MAX_PARTS)
        self.assertEqual(sum(map(len, client.parts.values())), 25_000)


class CompletionTests(SynchronousTestCase):
    """A store that composes the object when the upload is completed, which takes longer than other requests may."""

    def upload(self, complete: Answer, **settings: Any) -> StoredObject:
        answers = {b"GET": error(501, "NotImplemented"), b"PUT": _stored_part, b"DELETE": error(204, "")}

        def answer(connection: socket.socket, head: bytes) -> None:
            method, path, *_ = head.split(b" ", 2)
            if method == b"POST":
                (complete if b"uploadId" in path else _created)(connection, head)
            else:
                answers[method](connection, head)

        self.server = HostileServer(answer)
        self.server.__enter__()
        self.addCleanup(self.server.__exit__)
        path = Path(self.mktemp())
        path.write_bytes(bytes(17 * 2**20))
        store = S3Store(s3_server.settings(self.server.url, timeout=1.0, **settings))
        self.patch(store, "_verify", lambda *_: None)  # this store returns no checksums, nor has it the object
        return store.upload(path, TARGET, None, "audio/wav", ObjectLock())

    def requests(self, method: bytes) -> int:
        return sum(request.startswith(method) for request in self.server.requests)

    def test_white_space_until_the_object_is_composed(self) -> None:
        for declaration in (b"", b"<?xml version='1.0' encoding='UTF-8'?>\n"):
            self.upload(_after_white_space(declaration + COMPLETED))
            self.assertEqual(self.requests(b"POST"), 2)
        self.upload(_after_white_space(COMPLETED, begin=b"<?xml version='1.0' encoding='UTF-8'?>\n"))

    def test_silence_until_the_object_is_composed(self) -> None:
        self.upload(_after_white_space(COMPLETED, space=b""))
        self.assertEqual(self.requests(b"POST"), 2)

    def test_success_with_an_error_in_its_body(self) -> None:
        """The status was sent before the store knew that it would fail; the upload is aborted, and attempted again."""
        for begin in (b"", b"<?xml version='1.0' encoding='UTF-8'?>\n"):
            with self.assertRaisesRegex(StoreError, "InternalError"):
                self.upload(_after_white_space(FAILED, begin=begin, pause=0.01))
            self.assertEqual((self.requests(b"POST"), self.requests(b"DELETE")), (4, 1))

    def test_completion_that_never_ends(self) -> None:
        stop = threading.Event()
        self.addCleanup(stop.set)

        def answer(connection: socket.socket, _head: bytes) -> None:
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            while not stop.wait(0.05):
                connection.sendall(b" ")

        with self.assertRaisesRegex(StoreError, "Read timeout"):
            self.upload(answer, completion_timeout=1.5)


def _created(connection: socket.socket, _head: bytes) -> None:
    body = b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body))


def _stored_part(connection: socket.socket, _head: bytes) -> None:
    connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\nETag: "part"\r\n\r\n')


def _after_white_space(body: bytes, *, begin: bytes = b"", space: bytes = b" \n", pause: float = 0.1) -> Answer:
    """Return an answer with ``begin``, white space for longer than the time-out of the client, and ``body``."""

    def answer(connection: socket.socket, _head: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + begin)
        never = threading.Event()
        for _ in range(15):
            never.wait(pause)
            connection.sendall(space)
        connection.sendall(body)

    return answer
