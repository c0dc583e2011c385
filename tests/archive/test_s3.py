"""Tests of the S3 client, with a real server."""

import base64
import hashlib
import os
import tempfile
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from twisted.trial.unittest import SynchronousTestCase

from tests import s3_server
from voxrec.archive.interface import ObjectLock, StoreError
from voxrec.archive.s3 import S3Store
from voxrec.errors import NotFound
from voxrec.model import StoredObject
from voxrec.sandbox.seaweedfs import client_of

TYPE = "audio/wav"
KEY = bytes(range(32))
OTHER_KEY = bytes(range(1, 33))
PART = 5 * 2**20


class S3TestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.bucket = s3_server.new_bucket()
        self.store = s3_server.store()

    def file(self, content: bytes) -> Path:
        descriptor, name = tempfile.mkstemp(dir=self.directory)
        os.write(descriptor, content)
        os.close(descriptor)
        return Path(name)

    def target(self, bucket: str | None = None) -> StoredObject:
        return StoredObject(bucket=bucket or self.bucket, key=f"calls/2026/05/06/{uuid4()}.wav")

    def upload(
        self, content: bytes, store: S3Store | None = None, bucket: str | None = None, lock: ObjectLock | None = None
    ) -> StoredObject:
        sha256 = hashlib.sha256(content).hexdigest()
        return (store or self.store).upload(self.file(content), self.target(bucket), sha256, TYPE, lock or ObjectLock())

    def read(self, stored: StoredObject, start: int, length: int, store: S3Store | None = None) -> bytes:
        reader = (store or self.store).open(stored, start, length)
        blocks = []
        while block := reader.read(65536):
            blocks.append(block)
        reader.close()
        return b"".join(blocks)

    def head(self, stored: StoredObject, **options: Any) -> dict[str, Any]:
        response: dict[str, Any] = s3_server.client().head_object(
            Bucket=stored.bucket, Key=stored.key, ChecksumMode="ENABLED", **options
        )
        return response


class UploadTests(S3TestCase):
    def test_content_type_and_checksum_are_stored(self) -> None:
        stored = self.upload(b"audio")
        head = self.head(stored)
        self.assertEqual((head["ContentLength"], head["ContentType"]), (5, TYPE))
        self.assertEqual(head["ChecksumSHA256"], _base64(b"audio"))
        self.assertIsNotNone(stored.stored_at)

    def test_empty_file(self) -> None:
        stored = self.upload(b"")
        self.assertEqual(self.store.facts(stored).size, 0)
        self.assertEqual(self.read(stored, 0, 0), b"")

    def test_large_file_is_uploaded_in_parts_each_of_which_is_verified(self) -> None:
        content = os.urandom(3 * 2**20) * 7 + b"end"
        store = s3_server.store(part_size=PART)
        stored = self.upload(content, store)
        self.assertRegex(self.head(stored)["ChecksumSHA256"], r"=-5$")  # the SHA-256 of those of 5 parts
        self.assertEqual(self.read(stored, 0, len(content)), content)
        self.assertEqual(self.store.facts(stored).sha256, hashlib.sha256(content).hexdigest())

    def test_file_that_differs_from_the_recording_is_not_stored(self) -> None:
        with self.assertRaisesRegex(ValueError, "the Recording has " + "0" * 64):
            self.store.upload(self.file(b"damaged"), self.target(), "0" * 64, TYPE, ObjectLock())
        self.assertEqual(s3_server.keys(self.bucket), [])

    def test_missing_bucket(self) -> None:
        with self.assertRaisesRegex(StoreError, "NoSuchBucket: the bucket does not exist"):
            self.upload(b"audio", bucket="no-such-bucket")

    def test_wrong_secret_key(self) -> None:
        with self.assertRaisesRegex(StoreError, "403 SignatureDoesNotMatch: the secret key is wrong") as raised:
            self.upload(b"audio", s3_server.store(secret_key="wrong"))
        self.assertEqual(raised.exception.reason, "SignatureDoesNotMatch")

    def test_unknown_access_key(self) -> None:
        with self.assertRaisesRegex(StoreError, "InvalidAccessKeyId: the access key is unknown"):
            self.upload(b"audio", s3_server.store(access_key="unknown"))

    def test_stopping_ends_an_upload_in_parts_and_leaves_nothing(self) -> None:
        calls = iter(range(1000))
        store = S3Store(s3_server.settings(part_size=PART), lambda: next(calls) > 40)
        with self.assertRaisesRegex(StoreError, "voxrec is stopping"):
            self.upload(bytes(20 * 2**20), store)
        self.assertEqual(s3_server.keys(self.bucket), [])
        self.assertNotIn("Uploads", s3_server.client().list_multipart_uploads(Bucket=self.bucket))

    def test_upload_of_a_process_that_died_is_aborted(self) -> None:
        target = self.target()
        s3_server.client().create_multipart_upload(Bucket=target.bucket, Key=target.key)
        content = bytes(17 * 2**20)
        self.store.upload(self.file(content), target, None, TYPE, ObjectLock())
        self.assertNotIn("Uploads", s3_server.client().list_multipart_uploads(Bucket=self.bucket))


class ReadingTests(S3TestCase):
    def test_range(self) -> None:
        stored = self.upload(bytes(range(200)))
        self.assertEqual(self.read(stored, 10, 5), bytes(range(10, 15)))
        self.assertEqual(self.read(stored, 199, 1), b"\xc7")

    def test_missing_object(self) -> None:
        for operation in (lambda: self.store.open(self.target(), 0, 5), lambda: self.store.facts(self.target())):
            self.assertRaises(NotFound, operation)

    def test_object_is_shorter_than_expected(self) -> None:
        stored = self.upload(b"short")
        self.assertRaises(StoreError, self.read, stored, 0, 100)

    def test_fetched_file_is_verified(self) -> None:
        stored = self.upload(b"audio")
        target = self.directory / "copy"
        self.store.fetch(stored, target, 5, hashlib.sha256(b"audio").hexdigest())
        self.assertEqual(target.read_bytes(), b"audio")
        with self.assertRaisesRegex(StoreError, "SHA-256"):
            self.store.fetch(stored, target, 5, "0" * 64)

    def test_presigned_url(self) -> None:
        stored = self.upload(b"audio")
        url = self.store.presigned_url(stored, 60, TYPE, "call.wav")
        with urllib.request.urlopen(url) as response:  # noqa: S310 - of the test's server
            self.assertEqual(response.read(), b"audio")
            self.assertEqual(response.headers["Content-Disposition"], 'attachment; filename="call.wav"')

    def test_check_writes_reads_and_deletes(self) -> None:
        self.store.check(self.bucket, "calls/")
        self.assertEqual(s3_server.versions(self.bucket), [])
        self.assertRaises(StoreError, self.store.check, "no-such-bucket", "")


class EncryptionTests(S3TestCase):
    def test_customer_key(self) -> None:
        store = s3_server.store(encryption="customer", customer_keys=(KEY,))
        for content in (b"audio", os.urandom(17 * 2**20)):
            stored = self.upload(content, store)
            self.assertEqual(self.read(stored, 2, 3, store), content[2:5])
            self.assertEqual(store.facts(stored).size, len(content))
            self.assertRaises(StoreError, self.read, stored, 2, 3)  # this store has no key
        store.check(self.bucket, "")

    def test_rotated_customer_key(self) -> None:
        before = s3_server.store(encryption="customer", customer_keys=(KEY,))
        stored = self.upload(b"audio", before)
        after = s3_server.store(encryption="customer", customer_keys=(OTHER_KEY, KEY))
        self.assertEqual(self.read(stored, 0, 5, after), b"audio")
        self.assertNotEqual(self.upload(b"audio", after).key_md5, stored.key_md5)
        without = s3_server.store(encryption="customer", customer_keys=(OTHER_KEY,))
        with self.assertRaisesRegex(StoreError, "no customer key in the settings has the MD5"):
            self.read(stored, 0, 5, without)

    def test_key_of_the_store(self) -> None:
        stored = self.upload(b"audio", s3_server.store(encryption="s3"))
        self.assertEqual(self.head(stored)["ServerSideEncryption"], "AES256")
        self.assertEqual(self.read(stored, 1, 4), b"udio")

    def test_key_of_kms(self) -> None:
        store = s3_server.store(encryption="kms", kms_key="voice-records")
        for content in (b"audio", os.urandom(17 * 2**20)):
            stored = self.upload(content, store)
            head = self.head(stored)
            self.assertEqual(head["ServerSideEncryption"], "aws:kms")
            self.assertIn("voice-records", head["SSEKMSKeyId"])
            self.assertEqual(self.read(stored, 1, 4, store), content[1:5])
        store.check(self.bucket, "")

    def test_store_that_ignores_the_encryption(self) -> None:
        """The object would be stored as it is, against the settings."""
        for encryption in ("s3", "kms"):
            store = S3Store(s3_server.settings(encryption=encryption))
            client = client_of(s3_server.server())
            client.meta.events.register("before-parameter-build.s3", _drop_encryption)
            self.patch(store, "_make_client", lambda client=client: client)
            for content in (b"audio", bytes(17 * 2**20)):
                with self.assertRaisesRegex(StoreError, f"does not encrypt objects as s3.encryption {encryption}"):
                    self.upload(content, store)
            with self.assertRaisesRegex(StoreError, "does not encrypt"):
                store.check(self.bucket, "")
            self.assertEqual(s3_server.keys(self.bucket), [])

    def test_object_without_the_encryption_is_not_found_by_the_next_attempt(self) -> None:
        """It may remain, since an object that is locked cannot be deleted."""
        stored = self.upload(b"audio")
        target, sha256 = StoredObject(bucket=stored.bucket, key=stored.key), hashlib.sha256(b"audio").hexdigest()
        self.assertIsNotNone(self.store.find(target, 5, sha256))
        for encryption in ("s3", "kms"):
            self.assertIsNone(s3_server.store(encryption=encryption).find(target, 5, sha256), encryption)
        encrypted = s3_server.store(encryption="s3")
        encrypted.upload(self.file(b"audio"), target, sha256, TYPE, ObjectLock())
        self.assertIsNotNone(encrypted.find(target, 5, sha256))


class DeletionTests(S3TestCase):
    def test_object_and_unfinished_uploads(self) -> None:
        stored = self.upload(b"audio")
        s3_server.client().create_multipart_upload(Bucket=stored.bucket, Key=stored.key)
        self.store.delete(stored)
        self.assertEqual(s3_server.keys(self.bucket), [])
        self.assertNotIn("Uploads", s3_server.client().list_multipart_uploads(Bucket=self.bucket))
        self.store.delete(stored)  # it is gone already

    def test_all_versions_and_only_of_this_object(self) -> None:
        bucket = s3_server.new_bucket(versions=True)
        stored = self.upload(b"audio", bucket=bucket)
        s3_server.client().put_object(Bucket=bucket, Key=stored.key, Body=b"overwritten")
        s3_server.client().delete_object(Bucket=bucket, Key=stored.key)
        s3_server.client().put_object(Bucket=bucket, Key=f"{stored.key}.other", Body=b"other")
        self.assertEqual(len(s3_server.versions(bucket)), 4)
        self.store.delete(stored)
        self.assertEqual(s3_server.versions(bucket), [f"{stored.key}.other"])

    def test_version_that_was_stored_is_read(self) -> None:
        bucket = s3_server.new_bucket(versions=True)
        stored = self.upload(b"audio", bucket=bucket)
        s3_server.client().put_object(Bucket=bucket, Key=stored.key, Body=b"overwritten")
        self.assertEqual(self.read(stored, 0, 5), b"audio")


class LockTests(S3TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.bucket = s3_server.new_bucket(object_lock=True)
        self.until = datetime.now(UTC) + timedelta(days=2)

    def test_legal_hold(self) -> None:
        stored = self.upload(b"audio", lock=ObjectLock(hold=True))
        self.assertEqual(self.head(stored)["ObjectLockLegalHoldStatus"], "ON")
        with self.assertRaisesRegex(StoreError, "AccessDenied"):
            self.store.delete(stored)
        self.store.apply_lock(stored, ObjectLock())
        self.assertEqual(self.head(stored)["ObjectLockLegalHoldStatus"], "OFF")
        self.store.delete(stored)
        self.assertEqual(s3_server.versions(self.bucket), [])

    def test_retention_is_extended_but_never_shortened(self) -> None:
        store = s3_server.store(retention="COMPLIANCE")
        stored = self.upload(b"audio", store, lock=ObjectLock(retain_until=self.until))
        for days, expected in ((5, 5), (1, 5)):
            store.apply_lock(stored, ObjectLock(retain_until=self.until + timedelta(days=days)))
            head = self.head(stored)
            self.assertEqual(head["ObjectLockMode"], "COMPLIANCE")
            retained = (head["ObjectLockRetainUntilDate"] - self.until).total_seconds()
            self.assertApproximates(retained, expected * 86400, 2)
        self.assertRaises(StoreError, store.delete, stored)

    def test_governance_ends_with_the_deletion_by_voxrec(self) -> None:
        store = s3_server.store(retention="GOVERNANCE")
        stored = self.upload(b"audio", store, lock=ObjectLock(retain_until=self.until))
        self.assertRaises(StoreError, self.store.delete, stored)
        store.delete(stored)
        self.assertEqual(s3_server.versions(self.bucket), [])

    def test_upload_in_parts(self) -> None:
        store = s3_server.store(retention="GOVERNANCE")
        stored = self.upload(bytes(17 * 2**20), store, lock=ObjectLock(hold=True, retain_until=self.until))
        head = self.head(stored)
        self.assertEqual((head["ObjectLockLegalHoldStatus"], head["ObjectLockMode"]), ("ON", "GOVERNANCE"))


def _drop_encryption(params: dict[str, Any], **_: object) -> None:
    for name in ("ServerSideEncryption", "SSEKMSKeyId"):
        params.pop(name, None)


def _base64(content: bytes) -> str:
    return base64.b64encode(hashlib.sha256(content).digest()).decode()
