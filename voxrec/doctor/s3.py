"""Checks of the S3 archive."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from voxrec.archive.s3_settings import settings_of
from voxrec.config import Config
from voxrec.doctor.finding import Finding, failed, ok, skipped, warning
from voxrec.errors import VoxrecError
from voxrec.postgres.cluster import dsn_of_running_server
from voxrec.postgres.requirements import connect
from voxrec.store.recording_files import UploadBacklog, read_upload_backlog

_OLD: Final = 3600.0  # seconds
_STORE_REMEDY: Final = (
    'correct the settings in the section s3, or the permissions; docs/s3.md, "Credentials and permissions", lists them'
)


def check_s3(config: Config) -> Iterator[Finding]:
    """Write, read and delete an object, check that the bucket supports what is configured, and look at the backlog."""
    backlog = _backlog(config)
    if not config.s3.bucket:
        if backlog is not None and backlog.stored:
            yield failed(
                "S3", f"s3.bucket is not set, but {backlog.stored} recordings are in S3", "set s3.bucket, as it was"
            )
        else:
            yield skipped("S3", "s3.bucket is not set; recordings are in the local archive")
        return
    yield from _check_store(config)
    if backlog is None:
        return  # the findings about the database say why
    if backlog.oldest_age > _OLD:
        yield warning(
            "S3 uploads",
            f"{backlog.waiting} wait, the oldest for {backlog.oldest_age / 3600:.1f} h: {backlog.last_error}",
            "see voxrec jobs list --kind upload; the finding about S3 tries the store now",
        )
    else:
        yield ok("S3 uploads", f"{backlog.stored} recordings are in S3, and {backlog.waiting} wait")


def _check_store(config: Config) -> Iterator[Finding]:
    from voxrec.archive.s3 import S3Store

    s3 = config.s3
    store = S3Store(settings_of(s3))
    try:
        store.check(s3.bucket, s3.prefix)
    except VoxrecError as error:
        yield failed("S3", error.detail, _STORE_REMEDY)
        return
    yield ok("S3", f"an object was written to s3://{s3.bucket}/{s3.prefix}, read and deleted")
    try:
        if s3.object_lock != "off" and not store.has_object_lock(s3.bucket):
            yield failed(
                "S3 Object Lock",
                f"the bucket {s3.bucket} is not configured for it, so that every upload fails",
                "enable Object Lock for the bucket, or set s3.object_lock to off",
            )
        elif s3.object_lock != "off":
            yield ok("S3 Object Lock", f"the bucket {s3.bucket} is configured for it")
    except VoxrecError as error:
        yield warning("S3 Object Lock", error.detail, "permit s3:GetBucketObjectLockConfiguration")


def _backlog(config: Config) -> UploadBacklog | None:
    try:
        dsn = str(config.database.dsn) or dsn_of_running_server(Path(config.data_directory, "postgres"))
        with closing(connect(dsn)) as connection:
            return read_upload_backlog(connection)
    except VoxrecError:
        return None
