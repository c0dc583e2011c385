"""Range requests (RFC 9110 section 14): one byte range of a representation.

A range that covers the whole representation is answered with 206 as well: players take 200 for a server that cannot
seek.
"""

import re
from dataclasses import dataclass
from typing import Final

from voxrec.web.errors import RangeNotSatisfiable
from voxrec.web.request import Request

# the number of digits is limited, because the time that int() takes is quadratic in it
_SINGLE_RANGE: Final = re.compile(r"bytes=[ \t]*([0-9]{0,1000})-([0-9]{0,1000})[ \t]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ByteRange:
    """``length`` bytes from ``start`` on, of a representation with ``size`` bytes."""

    start: int
    length: int
    size: int

    @property
    def content_range(self) -> str:
        """The value of Content-Range."""
        return f"bytes {self.start}-{self.start + self.length - 1}/{self.size}"


def parse_range(header: str, size: int) -> ByteRange | None:
    """Return the range that a Range header requests of a representation with ``size`` bytes.

    Returns None if the header is empty, invalid, or has several ranges: the whole representation may then be sent
    (section 14.2). Raises RangeNotSatisfiable if the range begins after the end.
    """
    match = _SINGLE_RANGE.fullmatch(header.strip())
    if match is None:
        return None
    first, last = match.groups()
    if not first and not last:
        return None
    if first and last and int(first) > int(last):
        return None
    start = int(first) if first else max(0, size - int(last))
    end = min(size, int(last) + 1) if first and last else size
    if start >= end:
        raise RangeNotSatisfiable(f"The representation has {size} bytes.", {"Content-Range": f"bytes */{size}"})
    return ByteRange(start, end - start, size)


def requested_range(request: Request, etag: str, size: int) -> ByteRange | None:
    """Return the range that a request asks for, or None: the whole representation is to be sent with 200.

    Range applies to GET only, and only while If-Range, if any, is the strong ETag of this version (RFC 9110 section
    13.1.5). Raises RangeNotSatisfiable.
    """
    if request.method != "GET" or request.headers.get("if-range", etag) != etag:
        return None
    return parse_range(request.headers.get("range", ""), size)
