"""Lists of what an S3 store has: versions of objects, unfinished uploads, objects. Some stores lack some of them."""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, Final

from botocore.exceptions import ClientError

from voxrec.archive.interface import StoreError

_UNSUPPORTED: Final = frozenset({"NotImplemented", "MethodNotAllowed", "501", "405"})
_MAX_PAGES: Final = 100  # of a list about one object; one page has up to 1000 entries


class StoreLists:
    """Reads lists page by page. ``check`` is called for each page, and ends the list if it raises."""

    def __init__(self, client: Any, check: Callable[[], None]) -> None:
        self._client = client
        self._check = check

    def objects(self, bucket: str, prefix: str) -> Iterator[tuple[str, datetime]]:
        """Yield the keys that begin with ``prefix``, and when they were stored."""
        for page in self._pages("list_objects_v2", bucket, prefix):
            for entry in page.get("Contents", ()):
                yield entry["Key"], entry["LastModified"]

    def versions(self, bucket: str, key: str) -> Iterator[str]:
        """Yield all versions and delete markers of an object; none if the store has no versions."""
        for entry in self._entries("list_object_versions", bucket, key, "Versions", "DeleteMarkers"):
            yield entry["VersionId"]

    def unfinished_uploads(self, bucket: str, key: str) -> Iterator[str]:
        """Yield the ids of the uploads in parts of an object that were neither completed nor aborted."""
        for entry in self._entries("list_multipart_uploads", bucket, key, "Uploads"):
            yield entry["UploadId"]

    def _entries(self, operation: str, bucket: str, key: str, *lists: str) -> Iterator[dict[str, Any]]:
        """Yield the entries about an object; none if the store does not have such a list. Raises StoreError."""
        try:
            for number, page in enumerate(self._pages(operation, bucket, key)):
                if number == _MAX_PAGES:
                    raise StoreError(f"{operation}: the store sends more than {_MAX_PAGES} pages", "EndlessList")
                yield from (entry for name in lists for entry in page.get(name, ()) if entry["Key"] == key)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") not in _UNSUPPORTED:
                raise

    def _pages(self, operation: str, bucket: str, prefix: str) -> Iterator[dict[str, Any]]:
        for page in self._client.get_paginator(operation).paginate(Bucket=bucket, Prefix=prefix):
            self._check()
            yield page
