"""The ``upload`` job: stores the audio of a Recording in S3, and then mirrors its legal hold and retention there.

The order of the steps makes every attempt repeatable: the row names the object before the upload begins, so that a
deletion finds it; the row says that it is stored once the store has verified the checksum; and only then the local file
is removed. If the process dies between two steps, the next attempt continues.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

from twisted.logger import Logger

from voxrec.archive.interface import ArchiveUnavailable, FileDamaged, ObjectLock, StoreError, UploadCancelled
from voxrec.audio.formats import FORMATS
from voxrec.errors import DeliveryError, NotFound, StoreUnavailable, VoxrecError
from voxrec.model import Job, Recording, StoredObject
from voxrec.store.upload_records import PlannedUpload
from voxrec.threads import DeferToThread

_OTHER_TYPE = "application/octet-stream"

DeferForBucket = Callable[..., Awaitable[Any]]
"""Runs a blocking function in a thread: the bucket that it uses, the function, then its arguments."""


class Records(Protocol):
    """What uploads read and write in PostgreSQL, see `voxrec.store.upload_records.UploadRecords`."""

    async def begin(self, recording_id: UUID, /) -> PlannedUpload:
        """Return the Recording and the object for its audio, which the row names from now on. Raises NotFound."""

    async def set_stored_object(self, recording_id: UUID, stored: StoredObject, /) -> Recording:
        """Store where the audio is, or will be, and return the Recording. Raises NotFound."""


class LocalFiles(Protocol):
    """The local archive."""

    @property
    def root(self) -> Path:
        """Its directory."""

    def locate(self, path: str) -> Path:
        """Return the location of a file. Raises NotFound."""

    def delete(self, path: str) -> None:
        """Delete the file, if it exists."""


class ObjectStore(Protocol):
    """The S3 store. Its methods block, and raise StoreError."""

    def upload(
        self, source: Path, target: StoredObject, sha256: str | None, media_type: str, lock: ObjectLock
    ) -> StoredObject:
        """Store a file and return the object. Raises FileDamaged if the content is not that of the Recording."""

    def find(self, target: StoredObject, size: int | None, sha256: str | None) -> StoredObject | None:
        """Return the object at ``target`` if an earlier upload has stored this content there."""

    def delete(self, stored: StoredObject) -> None:
        """Delete all versions of an object, and unfinished uploads."""

    def apply_lock(self, stored: StoredObject, lock: ObjectLock) -> None:
        """Set the legal hold and the retention of an object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadSettings:
    """How Recordings are stored.

    - ``uploads``: whether anything is uploaded; otherwise only locks are mirrored;
    - ``keep_local``: whether the local file remains;
    - ``holds``, ``retention``: whether legal holds, and times of expiry, are mirrored by Object Lock.
    """

    uploads: bool = True
    keep_local: bool = False
    holds: bool = False
    retention: bool = False


class Uploader:
    """Handles ``upload`` jobs.

    ``defer_for_bucket`` runs what uses the store in a thread, of which each bucket can have a limited number; further
    jobs prepare or conclude an upload meanwhile. ``defer_local_to_thread`` runs what uses only the local archive.
    ``bucket_recovered`` is called with the bucket of the Profile, or None, when an upload succeeds after failures.
    ``on_upload`` is called with the outcome of each upload (stored, failed) and the number of bytes.
    """

    _log = Logger()

    def __init__(
        self,
        records: Records,
        archive: LocalFiles,
        store: ObjectStore,
        settings: UploadSettings,
        defer_for_bucket: DeferForBucket,
        defer_local_to_thread: DeferToThread,
        *,
        bucket_recovered: Callable[[str | None], Awaitable[object]],
        on_upload: Callable[[str, int], None] = lambda _outcome, _size: None,
    ) -> None:
        self._records = records
        self._archive = archive
        self._store = store
        self._settings = settings
        self._defer_for_bucket = defer_for_bucket
        self._defer_local_to_thread = defer_local_to_thread
        self._bucket_recovered = bucket_recovered
        self._on_upload = on_upload
        self.failures: dict[str, str] = {}
        """The last error of each bucket to which the last upload failed."""

    async def __call__(self, job: Job) -> None:
        """Upload the audio, unless it is stored, and apply the lock. Raises DeliveryError; only damage is permanent."""
        try:
            recording, target = await self._records.begin(job.recording_id)
        except NotFound:
            return  # it was deleted, and its object with it
        if target is None:
            return
        try:
            await self._store_audio(recording, target, job.target)
        except StoreUnavailable:
            raise
        except FileDamaged as error:
            raise DeliveryError(f"the local file is damaged: {error}", permanent=True) from error
        except VoxrecError as error:
            retry_after = error.retry_after if isinstance(error, StoreError) else 0.0
            raise DeliveryError(error.detail, permanent=False, retry_after=retry_after) from error

    async def _store_audio(self, recording: Recording, target: StoredObject, own_bucket: str | None) -> None:
        stored = recording.stored_object
        if stored is None or not recording.uploaded:
            if not self._settings.uploads:
                return
            try:
                uploaded = await self._upload(recording, target)
            except UploadCancelled:
                raise
            except StoreError as error:
                self._failed(target.bucket, error)
                self._on_upload("failed", recording.size or 0)
                raise
            await self._succeeded(target.bucket, own_bucket)
            if uploaded is None:
                return
            recording = uploaded
        elif self._settings.holds:
            await self._defer_for_bucket(stored.bucket, self._store.apply_lock, stored, self._lock(recording))
        if not self._settings.keep_local and recording.path is not None:
            await self._defer_local_to_thread(self._archive.delete, recording.path)

    async def _upload(self, recording: Recording, target: StoredObject) -> Recording | None:
        """Upload the audio, and return the Recording as stored then; None if it was deleted meanwhile."""
        former = recording.stored_object
        if former is not None and former != target:  # the settings or the Profile have another bucket since
            with suppress(StoreError):
                await self._defer_for_bucket(former.bucket, self._store.delete, former)
            try:
                recording = await self._records.set_stored_object(recording.id, target)
            except NotFound:
                return None
        lock = self._lock(recording)
        stored, sent = await self._defer_for_bucket(target.bucket, self._find_or_send, recording, former, target, lock)
        if sent:
            self._on_upload("stored", recording.size or 0)
        try:
            recording = await self._records.set_stored_object(recording.id, stored)
        except NotFound:  # nothing else would delete the object, since it was stored after the erase job had run
            await self._defer_for_bucket(stored.bucket, self._store.delete, stored)
            return None
        if self._settings.holds and (not sent or former is not None or self._lock(recording) != lock):
            await self._defer_for_bucket(stored.bucket, self._store.apply_lock, stored, self._lock(recording))
        return recording

    def _find_or_send(
        self, recording: Recording, former: StoredObject | None, target: StoredObject, lock: ObjectLock
    ) -> tuple[StoredObject, bool]:
        """Return the object with the audio, and whether it was sent now. Blocks. Raises ArchiveUnavailable."""
        source = self._local_file(recording)
        # An earlier attempt may have uploaded it, but died before it could store that; without a file, it has done so,
        # and a failover of PostgreSQL has lost that.
        if former is not None or source is None:
            stored = self._store.find(target, recording.size, recording.sha256)
            if stored is not None:
                return stored, False
        if source is None:  # its file system may not be mounted
            raise ArchiveUnavailable(f"{self._archive.root} has no file {recording.path}")
        audio_format = FORMATS.get(recording.format)
        media_type = _OTHER_TYPE if audio_format is None else audio_format.media_type
        return self._store.upload(source, target, recording.sha256, media_type, lock), True

    def _local_file(self, recording: Recording) -> Path | None:
        """Return the file in the local archive; None if there is none."""
        try:
            return self._archive.locate(recording.path or "")
        except NotFound:
            return None

    def _lock(self, recording: Recording) -> ObjectLock:
        return ObjectLock(
            hold=self._settings.holds and recording.legal_hold,
            retain_until=recording.expires_at if self._settings.retention else None,
        )

    def _failed(self, bucket: str, error: StoreError) -> None:
        if bucket not in self.failures:
            self._log.warn(
                "uploads to the bucket {bucket} fail; the recordings stay in the local archive, retrying: {error}",
                bucket=bucket,
                error=error.detail,
            )
        self.failures[bucket] = error.detail

    async def _succeeded(self, bucket: str, own_bucket: str | None) -> None:
        if self.failures.pop(bucket, None) is None:
            return
        due = await self._bucket_recovered(own_bucket)
        self._log.info(
            "uploads to the bucket {bucket} work again; {count} that failed are due now", bucket=bucket, count=due
        )
