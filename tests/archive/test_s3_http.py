"""Tests of the S3 client with servers that are hostile, broken or slow."""

import itertools
import os
import socket
import threading
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests import s3_server
from tests.archive.hostile_server import Answer, HostileServer, document, endless, error
from voxrec.archive.interface import FileDamaged, ObjectLock, StoreError
from voxrec.archive.s3 import S3Store
from voxrec.archive.s3_http import MAX_DOCUMENT
from voxrec.archive.s3_settings import MAX_SINGLE_UPLOAD
from voxrec.model import StoredObject

TARGET = StoredObject(bucket="bucket", key="2026/05/06/x.wav")
LOCK = ObjectLock()


class HostileTestCase(SynchronousTestCase):
    timeout_seconds = 1.0

    def serve(self, answer: Answer) -> S3Store:
        server = HostileServer(answer)
        server.__enter__()
        self.addCleanup(server.__exit__)
        self.server = server
        return S3Store(s3_server.settings(server.url, timeout=self.timeout_seconds))

    def upload(self, store: S3Store, size: int = 10) -> StoreError:
        path = Path(self.mktemp())
        path.write_bytes(bytes(size))
        failure: StoreError = self.assertRaises(StoreError, store.upload, path, TARGET, None, "audio/wav", LOCK)
        return failure


class HostileTests(HostileTestCase):
    def test_endless_error_document(self) -> None:
        store = self.serve(endless(b"HTTP/1.1 403 X\r\n\r\n<Error>", b"x" * 65536))
        failure = self.upload(store)
        self.assertIn(f"more than {MAX_DOCUMENT} bytes", failure.detail)

    def test_endless_headers(self) -> None:
        store = self.serve(endless(b"HTTP/1.1 200 OK\r\n", b"X-More: " + b"x" * 8000 + b"\r\n"))
        self.assertIn("upload to s3://bucket/", self.upload(store).detail)

    def test_huge_header(self) -> None:
        store = self.serve(endless(b"HTTP/1.1 200 OK\r\nX-Huge: ", b"x" * 65536))
        self.upload(store)

    def test_endless_interim_responses(self) -> None:
        store = self.serve(endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n"))
        self.upload(store)

    def test_header_that_trickles(self) -> None:
        """Each byte arrives before the timeout of one operation on the socket; the request has a deadline."""
        stop = threading.Event()
        self.addCleanup(stop.set)

        def answer(connection: socket.socket, _head: bytes) -> None:
            connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            while not stop.wait(0.05):
                connection.sendall(b"x")

        store = self.serve(answer)
        began = time.monotonic()
        self.assertIn("Read timeout", self.upload(store).detail)
        self.assertLess(time.monotonic() - began, 60)

    def test_body_that_trickles(self) -> None:
        stop = threading.Event()
        self.addCleanup(stop.set)

        def answer(connection: socket.socket, _head: bytes) -> None:
            connection.sendall(b"HTTP/1.1 206 OK\r\nContent-Length: 1000\r\nContent-Range: bytes 0-999/1000\r\n\r\n")
            while not stop.wait(0.05):
                connection.sendall(b"x")

        reader = self.serve(answer).open(TARGET, 0, 1000)
        self.assertRaises(StoreError, reader.read, 1000)
        reader.close()

    def test_store_that_does_not_read(self) -> None:
        stop = threading.Event()
        self.addCleanup(stop.set)
        store = self.serve(lambda _connection, _head: (stop.wait(60), None)[1])
        self.upload(store, 16_000_000)

    def test_redirection_is_not_followed(self) -> None:
        with HostileServer(error(200, "")) as other:
            for status in (301, 302, 307, 308):
                answer = error(status, "TemporaryRedirect", f"Location: {other.url}/\r\n")
                self.assertIn("redirect", self.upload(self.serve(answer)).detail)
            self.assertEqual(other.requests, [])

    def test_body_that_ends_early(self) -> None:
        def answer(connection: socket.socket, _head: bytes) -> None:
            connection.sendall(
                b"HTTP/1.1 206 OK\r\nContent-Length: 1000\r\nContent-Range: bytes 0-999/1000\r\n\r\n" + b"x" * 500
            )

        reader = self.serve(answer).open(TARGET, 0, 1000)
        self.assertEqual(len(reader.read(400)), 400)
        with self.assertRaises(StoreError):
            while reader.read(400):
                pass

    def test_whole_object_instead_of_the_range(self) -> None:
        def answer(connection: socket.socket, _head: bytes) -> None:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\naudio")

        self.assertIn("another range", self.assertRaises(StoreError, self.serve(answer).open, TARGET, 2, 5).detail)

    def test_not_http(self) -> None:
        self.upload(self.serve(endless(b"\x00\xff\r\n", b"noise\r\n")))


class RefusalTests(HostileTestCase):
    def test_overloaded_store_names_the_delay(self) -> None:
        failure = self.upload(self.serve(error(503, "SlowDown", "Retry-After: 120\r\n")))
        self.assertEqual((failure.reason, failure.retry_after), ("SlowDown", 120.0))
        self.assertEqual(len(self.server.requests), 3)

    def test_overloaded_store_without_a_delay(self) -> None:
        self.assertEqual(self.upload(self.serve(error(503, "SlowDown"))).retry_after, 10.0)

    def test_delay_is_limited(self) -> None:
        failure = self.upload(self.serve(error(503, "SlowDown", "Retry-After: 999999\r\n")))
        self.assertEqual(failure.retry_after, 3600.0)

    def test_clock_of_this_machine_is_wrong(self) -> None:
        failure = self.upload(self.serve(error(403, "RequestTimeTooSkewed")))
        self.assertIn("synchronize it (NTP)", failure.detail)

    def test_store_is_down(self) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.close()
        failure = self.upload(S3Store(s3_server.settings(url, timeout=1.0)))
        self.assertFalse(failure.refused)
        self.assertEqual(failure.reason, "EndpointConnectionError")

    def test_no_credentials(self) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
            self.patch(os, "environ", {key: value for key, value in os.environ.items() if key != name})
        os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
        os.environ["AWS_SHARED_CREDENTIALS_FILE"] = os.environ["AWS_CONFIG_FILE"] = "/nonexistent"
        with HostileServer(error(200, "")) as server:
            store = S3Store(s3_server.settings(server.url, access_key="", secret_key=""))
            self.assertIn("no credentials were found", self.upload(store).detail)

    def test_credentials_of_the_environment(self) -> None:
        environment = {**os.environ, "AWS_ACCESS_KEY_ID": "from-environment", "AWS_SECRET_ACCESS_KEY": "secret"}
        self.patch(os, "environ", environment)
        store = self.serve(error(403, "AccessDenied"))
        store = S3Store(s3_server.settings(self.server.url, access_key="", secret_key=""))
        self.upload(store)
        self.assertIn(b"Credential=from-environment/", self.server.requests[0])

    def test_default_key_of_kms(self) -> None:
        self.serve(error(403, "AccessDenied"))
        for key, is_named in (("", False), ("arn:aws:kms:eu-central-1:1:key/2", True)):
            self.upload(S3Store(s3_server.settings(self.server.url, encryption="kms", kms_key=key)))
            head = self.server.requests[-1].lower()
            self.assertIn(b"x-amz-server-side-encryption: aws:kms\r\n", head)
            self.assertEqual(b"x-amz-server-side-encryption-aws-kms-key-id: " + key.encode() in head, is_named)


class DeletionTests(HostileTestCase):
    """A store without versions and without uploads in parts."""

    def delete(self, head: Answer, delete: Answer) -> S3Store:
        answers = {b"GET": error(501, "NotImplemented"), b"HEAD": head, b"DELETE": delete}
        return self.serve(lambda connection, request: answers[request.partition(b" ")[0]](connection, request))

    def methods(self) -> list[bytes]:
        return [request.partition(b" ")[0] for request in self.server.requests]

    def test_deletion_that_is_refused_is_an_error(self) -> None:
        store = self.delete(error(200, ""), error(403, "AccessDenied"))
        self.assertIn("AccessDenied", self.assertRaises(StoreError, store.delete, TARGET).detail)

    def test_examination_that_is_refused_is_no_proof_that_the_object_is_gone(self) -> None:
        """As of an object that is encrypted with a key of the customer, or without the permission to list."""
        for status in (400, 403):
            store = self.delete(error(status, ""), error(204, ""))
            store.delete(TARGET)
            self.assertEqual(self.methods()[-2:], [b"HEAD", b"DELETE"])

    def test_object_that_does_not_exist(self) -> None:
        store = self.delete(error(404, ""), error(403, "AccessDenied"))
        store.delete(TARGET)
        self.assertNotIn(b"DELETE", self.methods())


class InvalidResponseTests(HostileTestCase):
    """Responses that botocore cannot parse, or that lack something. None of them says that the file is damaged."""

    def answer(self, **answers: Answer) -> S3Store:
        """Return a store that answers each method as named; the start of an upload in parts is named ``uploads``."""

        def answer(connection: socket.socket, request: bytes) -> None:
            method = request.partition(b" ")[0].decode()
            is_start = method == "POST" and b"uploads" in request.partition(b"\r\n")[0]
            answers["uploads" if is_start else method](connection, request)

        return self.serve(answer)

    def upload_large(self, store: S3Store) -> StoreError:
        return self.upload(store, MAX_SINGLE_UPLOAD + 1)

    def test_header_that_is_no_number(self) -> None:
        failure = self.upload(self.answer(PUT=document(headers="x-amz-object-size: many\r\n")))
        self.assertEqual(failure.reason, "InvalidResponse")
        self.assertIn("the response of the store is invalid: ValueError", failure.detail)

    def test_page_of_a_portal_instead_of_a_list(self) -> None:
        failure = self.upload_large(self.answer(GET=document("<html><p>Please sign in</html>")))
        self.assertIn("upload to s3://bucket/", failure.detail)

    def test_list_with_a_time_that_is_none(self) -> None:
        upload = f"<Upload><Key>{TARGET.key}</Key><UploadId>1</UploadId><Initiated>soon</Initiated></Upload>"
        failure = self.upload_large(self.answer(GET=document(f"<R>{upload}</R>")))
        self.assertEqual(failure.reason, "InvalidResponse")

    def test_start_of_an_upload_without_an_id(self) -> None:
        failure = self.upload_large(self.answer(GET=error(501, "NotImplemented"), uploads=document("<R/>")))
        self.assertIn("KeyError: 'UploadId'", failure.detail)

    def test_document_that_is_nested_too_deeply(self) -> None:
        failure = self.upload(self.answer(PUT=document("<Error>" + "<a>" * 9000 + "</a>" * 9000 + "</Error>", 403)))
        self.assertIn("RecursionError", failure.detail)

    def test_document_that_expands_to_a_huge_one(self) -> None:
        entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 20 if n else "x" * 50}">' for n in range(8))
        failure = self.upload_large(self.answer(GET=document(f"<!DOCTYPE x [{entities}]><R><Upload>&e7;</Upload></R>")))
        self.assertIn("upload to s3://bucket/", failure.detail)

    def test_list_that_does_not_end(self) -> None:
        pages = itertools.count()

        def page(connection: socket.socket, request: bytes) -> None:
            markers = f"<NextKeyMarker>{next(pages)}</NextKeyMarker><NextUploadIdMarker>1</NextUploadIdMarker>"
            document(f"<R><IsTruncated>true</IsTruncated>{markers}</R>")(connection, request)

        failure = self.upload_large(self.answer(GET=page))
        self.assertEqual(failure.reason, "EndlessList")
        self.assertLess(len(self.server.requests), 110)

    def test_examination_without_a_size(self) -> None:
        store = self.answer(HEAD=document(length=False))
        self.assertEqual(self.assertRaises(StoreError, store.facts, TARGET).reason, "InvalidResponse")


class DamagedFileTests(HostileTestCase):
    """A file that differs from its Recording, and stores that do not notice it, or say nothing."""

    SHA256 = "00" * 32
    CONTENT = bytes(300_000)

    def store_damaged(self, put: Answer) -> FileDamaged:
        """Upload a file whose SHA-256 is another one."""
        answers = {b"GET": error(501, "NotImplemented"), b"HEAD": error(200, ""), b"DELETE": error(204, "")}

        def answer(connection: socket.socket, request: bytes) -> None:
            if request.startswith(b"PUT"):
                received = len(request.partition(b"\r\n\r\n")[2])
                while received < len(self.CONTENT):
                    received += len(connection.recv(65536))
                put(connection, request)
            else:
                answers[request.partition(b" ")[0]](connection, request)

        store = self.serve(answer)
        path = Path(self.mktemp())
        path.write_bytes(self.CONTENT)
        failure: FileDamaged = self.assertRaises(
            FileDamaged, store.upload, path, TARGET, self.SHA256, "audio/wav", LOCK
        )
        return failure

    def test_store_that_accepts_everything(self) -> None:
        """The object does not remain."""
        checksum = "A" * 43 + "="  # base64 of the SHA-256 of the Recording
        failure = self.store_damaged(document(headers=f"x-amz-checksum-sha256: {checksum}\r\n"))
        self.assertIn(f"the Recording has {self.SHA256}", str(failure))
        self.assertIn(b"x-amz-checksum-sha256: " + checksum.encode(), self.server.requests[0])
        self.assertTrue(self.server.requests[-1].startswith(b"DELETE"))

    def test_store_that_closes_the_connection(self) -> None:
        failure = self.store_damaged(lambda connection, _head: connection.shutdown(socket.SHUT_RDWR))
        self.assertIn("the Recording has", str(failure))
