"""A real S3 server for tests: one for each test process, and new buckets for each test."""

import atexit
from datetime import UTC, datetime
from functools import cache
from itertools import count
from typing import Any, Final

from tests.temporary import temporary_directory
from voxrec.archive.s3 import S3Store
from voxrec.archive.s3_settings import S3Settings
from voxrec.sandbox.seaweedfs import ACCESS_KEY, SECRET_KEY, SeaweedFS, client_of

_serial: Final = count(1)


@cache
def server() -> SeaweedFS:
    """Return the server of this process. The first call starts it; it ends with the process."""
    weed = SeaweedFS(temporary_directory("s3"))
    atexit.register(weed.kill)  # before its directory is removed: the last function registered is called first
    weed.start()
    return weed


def settings(endpoint: str | None = None, **changes: Any) -> S3Settings:
    """Return the settings for the server, or for another one at ``endpoint``."""
    values: dict[str, Any] = {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY, "addressing": "path", "timeout": 20.0}
    return S3Settings(endpoint=endpoint or server().endpoint, **values | changes)


@cache
def store(**changes: Any) -> S3Store:
    """Return a store on the server."""
    return S3Store(settings(**changes))


@cache
def client() -> Any:
    """Return a client of boto3 for the server that is independent of the code under test."""
    return client_of(server())


def new_bucket(*, object_lock: bool = False, versions: bool = False) -> str:
    """Create a bucket, and return its name."""
    name = f"bucket-{next(_serial)}"
    options = {"ObjectLockEnabledForBucket": True} if object_lock else {}
    client().create_bucket(Bucket=name, **options)
    if versions:
        client().put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    return name


def keys(bucket: str) -> list[str]:
    """Return the keys of all objects in a bucket."""
    return [entry["Key"] for entry in client().list_objects_v2(Bucket=bucket).get("Contents", ())]


def versions(bucket: str) -> list[str]:
    """Return the keys of all versions of objects and delete markers in a bucket, once for each version."""
    page = client().list_object_versions(Bucket=bucket)
    return [entry["Key"] for entry in (*page.get("Versions", ()), *page.get("DeleteMarkers", ()))]


def now() -> datetime:
    """Return the time of the server, which is that of this machine."""
    return datetime.now(UTC)
