"""Byte ranges (RFC 9110 section 14): one range of a representation, or all of it."""

import re
from dataclasses import dataclass

from voxrec.web.problems import RangeNotSatisfiable

# more digits than any file is long; the limit keeps int() cheap
_SINGLE = re.compile(r"bytes=[ \t]*([0-9]{0,19})-([0-9]{0,19})[ \t]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Span:
    """The bytes from ``start`` on, ``length`` of them, of a whole that has ``size``."""

    start: int
    length: int
    size: int

    @property
    def content_range(self) -> str:
        """The value of Content-Range."""
        return f"bytes {self.start}-{self.start + self.length - 1}/{self.size}"


def span_of(header: str, size: int) -> Span | None:
    """The span that a Range header asks for, of ``size`` bytes.

    None where there is no Range, where it does not parse, or where it names several ranges: a server may then send
    the whole (section 14.2). Raises RangeNotSatisfiable where the range begins beyond the end.
    """
    match = _SINGLE.fullmatch(header.strip())
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
        raise RangeNotSatisfiable(f"The audio has {size} bytes.", {"Content-Range": f"bytes */{size}"})
    return Span(start, end - start, size)
