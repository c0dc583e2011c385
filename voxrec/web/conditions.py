"""Entity tags and conditional requests (RFC 9110 sections 8.8.3 and 13)."""

import re
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from voxrec.web.errors import PreconditionFailed

_WEAK: Final = "W/"
_ETAG: Final = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')


def etag_of(representation: bytes) -> str:
    """Return a strong entity tag that depends on every byte of the representation."""
    return f'"{sha256(representation).hexdigest()[:32]}"'


@dataclass(frozen=True, slots=True)
class Conditions:
    """The preconditions of a request. ``if_match`` None, ``if_none_match`` empty: the header is absent.

    An empty If-Match, such as of a client that lost its ETag, is not absent: a change must not overwrite any version.
    """

    if_match: str | None = None
    if_none_match: str = ""

    def require(self, etag: str) -> None:
        """Raise PreconditionFailed unless a change of the version with this tag is permitted."""
        if self.if_match is not None and not _lists_strong(self.if_match, etag):
            raise PreconditionFailed(f"If-Match does not list the current version, {etag}.", {"ETag": etag})
        if self.unchanged(etag):
            raise PreconditionFailed(f"If-None-Match lists the current version, {etag}.", {"ETag": etag})

    def require_readable(self, etag: str) -> None:
        """Raise PreconditionFailed if If-Match does not list ``etag``. For GET, If-None-Match leads to 304 instead."""
        Conditions(if_match=self.if_match).require(etag)

    def unchanged(self, etag: str) -> bool:
        """Return whether If-None-Match lists ``etag``: the client has this version."""
        return _lists_weak(self.if_none_match, etag)


def _lists_strong(header: str, etag: str) -> bool:
    """Return whether a header lists a tag by the strong comparison, by which a weak tag is equal to none."""
    return header.strip() == "*" or (not etag.startswith(_WEAK) and etag in _ETAG.findall(header))


def _lists_weak(header: str, etag: str) -> bool:
    """Return whether a header lists a tag by the weak comparison."""
    opaque_tags = (listed.removeprefix(_WEAK) for listed in _ETAG.findall(header))
    return header.strip() == "*" or etag.removeprefix(_WEAK) in opaque_tags
