"""Sends the parts of a large file to an S3 store, several at the same time."""

import base64
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, BinaryIO, Final, NamedTuple

from voxrec.archive.interface import StoreError
from voxrec.archive.s3_bodies import FileSection, digest_of

MAX_PARTS: Final = 10_000
"""The number of parts that an object can have (S3 User Guide, "Amazon S3 multipart upload limits")."""


class SentPart(NamedTuple):
    """A part as the completion names it. ``confirmed``: the store returned the SHA-256 of what it received."""

    number: int
    etag: str
    checksum: str
    confirmed: bool

    def description(self) -> dict[str, object]:
        """Return the entry of the part in CompleteMultipartUpload."""
        return {"PartNumber": self.number, "ETag": self.etag, "ChecksumSHA256": self.checksum}


@dataclass(frozen=True, slots=True)
class PartSender:
    """Sends parts of ``part_size`` bytes of a file of ``size`` bytes, ``threads`` of them at the same time.

    ``client`` is that of boto3, ``upload`` identifies the upload, and ``options`` are the other parameters of
    UploadPart. ``check`` is called for each block, and ends the upload if it raises. Parts are read in blocks, so that
    the memory depends neither on the size of the file nor on that of a part.
    """

    client: Any
    file: BinaryIO
    size: int
    part_size: int
    upload: Mapping[str, str]
    options: Mapping[str, Any]
    check: Callable[[], None]
    threads: int

    def send(self) -> tuple[list[SentPart], bytes]:
        """Send all parts, and return them in order, with the SHA-256 of the file.

        The calling thread computes the latter meanwhile. If a part fails, all else ends at its next block, and the
        exception is raised when no thread uses the file any more.
        """
        failures: list[BaseException] = []

        def check() -> None:
            if failures:
                raise StoreError("another part failed", "Cancelled")
            self.check()

        def send_part(number: int, start: int) -> SentPart:
            try:
                return self._send_part(number, start, min(part_size, self.size - start), check)
            except BaseException as error:
                failures.append(error)
                raise

        part_size = max(self.part_size, -(-self.size // MAX_PARTS))
        starts = range(0, self.size, part_size)
        digest = b""
        with ThreadPoolExecutor(self.threads, "S3 part") as executor:
            sending = [executor.submit(send_part, number, start) for number, start in enumerate(starts, 1)]
            try:
                digest = digest_of(self.file, 0, self.size, check)
                wait(sending, return_when=FIRST_EXCEPTION)
            except BaseException as error:  # raised below, unless it follows from another one
                failures.append(error)
            if failures:
                executor.shutdown(wait=True, cancel_futures=True)
        if failures:
            raise failures[0]
        return [part.result() for part in sending], digest

    def _send_part(self, number: int, start: int, length: int, check: Callable[[], None]) -> SentPart:
        checksum = base64.b64encode(digest_of(self.file, start, length, check)).decode()
        response = self.client.upload_part(
            **self.upload,
            PartNumber=number,
            Body=FileSection(self.file, start, length, check),
            ChecksumSHA256=checksum,
            **self.options,
        )
        confirmed = response.get("ChecksumSHA256") == checksum
        return SentPart(number, response["ETag"], checksum, confirmed)
