"""A client for one S3 store: uploads whose checksums it verifies, downloads of ranges, deletion, Object Lock.

Works with every store that has Amazon's API; nothing here depends on the bucket being one of AWS. The functions block,
so run them in threads. One client is used by all threads (boto3 guide, "Multithreading").
"""

import base64
import hashlib
import io
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final
from uuid import uuid4

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from voxrec.archive.interface import FileDamaged, ObjectFacts, ObjectLock, StoreError, UploadCancelled
from voxrec.archive.s3_bodies import HashedFile, ObjectReader, digest_of, require_content
from voxrec.archive.s3_errors import translate_errors
from voxrec.archive.s3_http import BoundedSession
from voxrec.archive.s3_lists import StoreLists
from voxrec.archive.s3_parts import PartSender
from voxrec.archive.s3_settings import MAX_SINGLE_UPLOAD, S3Settings, is_future
from voxrec.errors import NotFound
from voxrec.model import StoredObject

_BLOCK_SIZE: Final = 1 << 20
_ATTEMPTS: Final = 3  # of one request, by botocore; the job makes further ones
_NOT_FOUND: Final = 404  # of a HEAD request, whose response has no error document


@dataclass(frozen=True, slots=True)
class _Uploaded:
    """What was stored: its version and its SHA-256. ``confirmed``: the store returned the checksums of all parts."""

    version: str | None
    sha256: str
    confirmed: bool


class S3Store:
    """Objects in the buckets of one store. ``is_stopping`` returns whether uploads are to be abandoned."""

    def __init__(self, settings: S3Settings, is_stopping: Callable[[], bool] = lambda: False) -> None:
        self._settings = settings
        self._is_stopping = is_stopping
        self._client: Any = None
        self._client_lock = threading.Lock()

    def upload(
        self, source: Path, target: StoredObject, sha256: str | None, media_type: str, lock: ObjectLock
    ) -> StoredObject:
        """Store a file, and return the object as stored: the store has verified the SHA-256 of every byte.

        ``sha256`` is that of the Recording, in hex: a file whose content differs is not stored. Raises StoreError,
        FileDamaged if the content differs, and OSError if the file cannot be read.
        """
        self._check_running()
        with source.open("rb") as file, translate_errors(f"upload to s3://{target.bucket}/{target.key}"):
            size = file.seek(0, io.SEEK_END)
            if size <= max(self._settings.part_size, MAX_SINGLE_UPLOAD):
                uploaded = self._upload_at_once(file, size, target, sha256, media_type, lock)
            else:
                uploaded = self._upload_parts(file, size, target, sha256, media_type, lock)
        stored = self._stored(target, uploaded.version)
        if not uploaded.confirmed:  # the store does not know checksums
            self._verify(stored, size, uploaded.sha256)
        return stored

    def _upload_at_once(
        self, file: BinaryIO, size: int, target: StoredObject, sha256: str | None, media_type: str, lock: ObjectLock
    ) -> "_Uploaded":
        """Upload a file by one request, which hashes the file while it sends it: the store has the expected SHA-256."""
        expected = sha256 or digest_of(file, 0, size, self._check_running).hex()
        checksum = base64.b64encode(bytes.fromhex(expected)).decode()
        body = HashedFile(file, size, self._check_running)
        try:
            response = self._s3.put_object(
                Bucket=target.bucket,
                Key=target.key,
                Body=body,
                ChecksumSHA256=checksum,
                **self._settings.object_options(expected, media_type, lock),
            )
        except Exception:
            require_content(file, body.digest(), expected)  # the store may refuse it because it differs
            raise
        self._require_as_demanded(response, target, lambda: require_content(file, body.digest(), expected))
        return _Uploaded(response.get("VersionId"), expected, confirmed=response.get("ChecksumSHA256") == checksum)

    def _require_as_demanded(
        self, response: Mapping[str, Any], target: StoredObject, check_content: Callable[[], None] = lambda: None
    ) -> None:
        """Delete an object that was stored without the encryption of the settings, or damaged, and raise the reason."""
        try:
            check_content()  # not all stores verify checksums
            self._settings.require_encryption(response)
        except (StoreError, FileDamaged):
            with suppress(Exception):  # it is replaced by the next attempt
                self.delete(target)
            raise

    def _upload_parts(
        self, file: BinaryIO, size: int, target: StoredObject, sha256: str | None, media_type: str, lock: ObjectLock
    ) -> "_Uploaded":
        where = {"Bucket": target.bucket, "Key": target.key}
        self._abort_uploads(target)  # of a process that died
        expected = sha256 or digest_of(file, 0, size, self._check_running).hex()
        options = self._settings.object_options(expected, media_type, lock)
        created = self._s3.create_multipart_upload(ChecksumAlgorithm="SHA256", **where, **options)
        upload = {**where, "UploadId": created["UploadId"]}
        customer_key = self._settings.customer_key()
        sender = PartSender(
            client=self._s3,
            file=file,
            size=size,
            part_size=self._settings.part_size,
            upload=upload,
            options=customer_key,
            check=self._check_running,
            threads=self._settings.parts_per_upload,
        )
        try:
            parts, digest = sender.send()
            require_content(file, digest, expected)
            completed = self._s3.complete_multipart_upload(
                **upload, MultipartUpload={"Parts": [part.description() for part in parts]}, **customer_key
            )
        except BaseException:
            with suppress(Exception):  # the next attempt, or the deletion, aborts it
                self._s3.abort_multipart_upload(**upload)
            raise
        confirmed = "ETag" in completed and all(part.confirmed for part in parts)
        if self._settings.encryption != "none":  # not all stores say it when an upload in parts begins or ends
            self._require_as_demanded(self._s3.head_object(**where, **customer_key), target)
        return _Uploaded(completed.get("VersionId"), expected, confirmed=confirmed)

    def _verify(self, stored: StoredObject, size: int, sha256: str) -> None:
        """Read an object, and raise StoreError unless it has this content."""
        digest = hashlib.sha256()
        try:
            reader = self.open(stored, 0, size)
        except NotFound as error:
            raise StoreError(f"{error.detail}, although the store accepted the upload", "Damaged") from error
        try:
            while block := reader.read(_BLOCK_SIZE):
                self._check_running()
                digest.update(block)
        finally:
            reader.close()
        if digest.hexdigest() != sha256:
            raise StoreError(f"{_uri(stored)} has the SHA-256 {digest.hexdigest()}; expected {sha256}", "Damaged")

    def facts(self, stored: StoredObject) -> ObjectFacts:
        """Return what the store says about an object. Raises NotFound and StoreError."""
        return _facts(self._examine(stored))

    def _examine(self, stored: StoredObject) -> Mapping[str, Any]:
        with translate_errors(f"examine {_uri(stored)}"):
            response: Mapping[str, Any] = self._s3.head_object(
                **_address(stored), **self._settings.customer_key(stored.key_md5)
            )
            if "ContentLength" not in response:
                raise StoreError(f"examine {_uri(stored)}: the store does not say its size", "InvalidResponse")
        return response

    def find(self, target: StoredObject, size: int | None, sha256: str | None) -> StoredObject | None:
        """Return the object at ``target`` if an earlier upload has stored this content there. Raises StoreError.

        An object without the encryption of the settings does not count: it may be one that could not be deleted.
        """
        try:
            response = self._examine(target)
            self._settings.require_encryption(response)
        except NotFound:
            return None
        except StoreError as error:
            if error.refused:  # it is encrypted with another key, for example; it is uploaded again
                return None
            raise
        facts = _facts(response)
        if size is None or sha256 is None or (facts.size, facts.sha256) != (size, sha256):
            return None
        stored = self._stored(target, facts.version)
        self._verify(stored, size, sha256)
        return stored

    def _stored(self, target: StoredObject, version: str | None) -> StoredObject:
        return StoredObject(
            bucket=target.bucket,
            key=target.key,
            version=version,
            stored_at=datetime.now(UTC),
            key_md5=self._settings.customer_key_md5(),
        )

    def open(self, stored: StoredObject, start: int, length: int) -> "ObjectReader":
        """Open ``length`` bytes of an object from the offset ``start``. Raises NotFound and StoreError."""
        if not length:
            return ObjectReader(io.BytesIO(), 0, _uri(stored))
        with translate_errors(f"read {_uri(stored)}"):
            response = self._s3.get_object(
                **_address(stored),
                Range=f"bytes={start}-{start + length - 1}",
                **self._settings.customer_key(stored.key_md5),
            )
            body = response["Body"]._raw_stream  # noqa: SLF001 - StreamingBody adds only checks that ObjectReader has
        reader = ObjectReader(body, length, _uri(stored))
        total = response.get("ContentRange", "").rpartition("/")[2]
        if response.get("ContentLength") != length or (start and not total):
            reader.close()
            raise StoreError(f"read {_uri(stored)}: the store sends another range than requested", "WrongRange")
        return reader

    def fetch(self, stored: StoredObject, target: Path, size: int, sha256: str | None) -> None:
        """Copy an object to a file. Raises NotFound, StoreError, also if the content differs, and OSError."""
        digest = hashlib.sha256()
        reader = self.open(stored, 0, size)
        try:
            with target.open("wb") as file:
                while block := reader.read(_BLOCK_SIZE):
                    self._check_running()
                    digest.update(block)
                    file.write(block)
        finally:
            reader.close()
        if sha256 is not None and digest.hexdigest() != sha256:
            raise StoreError(f"read {_uri(stored)}: its SHA-256 is {digest.hexdigest()}; expected {sha256}", "Damaged")

    def presigned_url(self, stored: StoredObject, seconds: int, media_type: str, file_name: str) -> str:
        """Return a URL at which anybody can download the object for ``seconds``."""
        with translate_errors(f"sign a URL of {_uri(stored)}"):
            url: str = self._s3.generate_presigned_url(
                "get_object",
                Params={
                    **_address(stored),
                    "ResponseContentType": media_type,
                    "ResponseContentDisposition": f'attachment; filename="{file_name}"',
                },
                ExpiresIn=seconds,
            )
        return url

    def delete(self, stored: StoredObject) -> None:
        """Delete all versions of an object, and what unfinished uploads have left of it. Raises StoreError.

        A store without versions deletes the object itself.
        """
        with translate_errors(f"delete s3://{stored.bucket}/{stored.key}"):
            self._abort_uploads(stored)
            where = {"Bucket": stored.bucket, "Key": stored.key}
            for version in list(self._lists.versions(stored.bucket, stored.key)):
                bypass = {"BypassGovernanceRetention": True} if self._settings.retention == "GOVERNANCE" else {}
                self._s3.delete_object(**where, VersionId=version, **bypass)
            if self._may_exist(stored):  # the list of versions of some stores is empty nevertheless
                self._s3.delete_object(**where)

    def apply_lock(self, stored: StoredObject, lock: ObjectLock) -> None:
        """Give an object the legal hold and, if it is later than the present one, the retention. Raises StoreError."""
        with translate_errors(f"set the legal hold of {_uri(stored)}"):
            self._s3.put_object_legal_hold(**_address(stored), LegalHold={"Status": "ON" if lock.hold else "OFF"})
            if self._settings.retention and lock.retain_until is not None and is_future(lock.retain_until):
                self._extend_retention(stored, lock.retain_until)

    def _extend_retention(self, stored: StoredObject, until: datetime) -> None:
        present = self._s3.head_object(**_address(stored), **self._settings.customer_key(stored.key_md5))
        current = present.get("ObjectLockRetainUntilDate")
        if current is None or current < until.replace(microsecond=0):
            self._s3.put_object_retention(
                **_address(stored), Retention={"Mode": self._settings.retention, "RetainUntilDate": until}
            )

    def objects(self, bucket: str, prefix: str) -> Iterator[tuple[str, datetime]]:
        """Yield the keys that begin with ``prefix``, and when they were stored. Raises StoreError."""
        with translate_errors(f"list s3://{bucket}/{prefix}"):
            yield from self._lists.objects(bucket, prefix)

    def check(self, bucket: str, prefix: str) -> None:
        """Write, read and delete a small object. Raises StoreError and NotFound."""
        content = uuid4().bytes
        probe = StoredObject(
            bucket=bucket, key=f"{prefix}.voxrec-check-{uuid4()}", key_md5=self._settings.customer_key_md5()
        )
        digest = hashlib.sha256(content)
        options = self._settings.object_options(digest.hexdigest(), "application/octet-stream", ObjectLock())
        with translate_errors(f"write to s3://{bucket}/{prefix}"):
            response = self._s3.put_object(
                Bucket=bucket,
                Key=probe.key,
                Body=content,
                ChecksumSHA256=base64.b64encode(digest.digest()).decode(),
                **options,
            )
        self._require_as_demanded(response, probe)
        try:
            reader = self.open(probe, 0, len(content))
            read = reader.read(len(content))
            reader.close()
        finally:
            self.delete(probe)
        if read != content:
            raise StoreError(f"read s3://{bucket}/{probe.key}: the content differs from what was written", "Damaged")

    def has_object_lock(self, bucket: str) -> bool:
        """Return whether Object Lock is configured for a bucket. Raises StoreError."""
        with translate_errors(f"read the Object Lock configuration of the bucket {bucket}"):
            try:
                response = self._s3.get_object_lock_configuration(Bucket=bucket)
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") == "ObjectLockConfigurationNotFoundError":
                    return False
                raise
        return bool(response.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") == "Enabled")

    def _may_exist(self, stored: StoredObject) -> bool:
        """Return False if the store says that there is no such object. A refusal, as without its key, is no proof."""
        try:
            self._s3.head_object(Bucket=stored.bucket, Key=stored.key)
        except ClientError as error:
            return bool(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") != _NOT_FOUND)
        return True

    def _abort_uploads(self, target: StoredObject) -> None:
        for upload in list(self._lists.unfinished_uploads(target.bucket, target.key)):
            self._s3.abort_multipart_upload(Bucket=target.bucket, Key=target.key, UploadId=upload)

    @property
    def _lists(self) -> StoreLists:
        return StoreLists(self._s3, self._check_running)

    def _check_running(self) -> None:
        if self._is_stopping():
            raise UploadCancelled("voxrec is stopping", "Stopping")

    @property
    def _s3(self) -> Any:
        with self._client_lock:
            if self._client is None:
                self._client = self._make_client()
        return self._client

    def _make_client(self) -> Any:
        """Make the client; finding the credentials may take a request to the cloud's metadata service."""
        settings = self._settings
        with translate_errors("connect to the S3 store"):
            client = boto3.session.Session().client(
                "s3",
                endpoint_url=settings.endpoint or None,
                region_name=settings.region or ("us-east-1" if settings.endpoint else None),
                aws_access_key_id=settings.access_key or None,
                aws_secret_access_key=settings.secret_key or None,
                config=Config(
                    signature_version="s3v4",
                    # the signed header with the SHA-256 of a body protects it; signing the body would hash it once more
                    s3={"addressing_style": settings.addressing, "payload_signing_enabled": False},
                    retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
                    # many stores know neither chunked uploads with trailing checksums nor CRC-64
                    request_checksum_calculation="when_required",
                    response_checksum_validation="when_required",
                    inject_host_prefix=False,
                ),
            )
            session = BoundedSession(
                settings.timeout, settings.completion_timeout, settings.connections, settings.ca_file
            )
            client.meta.events.register("before-send.s3", session)
        return client


def _facts(response: Mapping[str, Any]) -> ObjectFacts:
    sha256 = response.get("Metadata", {}).get("sha256")
    return ObjectFacts(response["ContentLength"], sha256, response.get("VersionId"))


def _address(stored: StoredObject) -> dict[str, str]:
    address = {"Bucket": stored.bucket, "Key": stored.key}
    return address if stored.version in (None, "null") else {**address, "VersionId": stored.version or ""}


def _uri(stored: StoredObject) -> str:
    return f"s3://{stored.bucket}/{stored.key}"
