"""Entity tags, and requests that depend on them (RFC 9110 sections 8.8.3 and 13)."""

import re
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from voxrec.web.problems import PreconditionFailed

_TAG: Final = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')


def etag_of(representation: bytes) -> str:
    """The strong tag of a representation: equal bytes have equal tags, and other bytes have other ones."""
    return f'"{sha256(representation).hexdigest()[:32]}"'


@dataclass(frozen=True, slots=True)
class Conditions:
    """The preconditions of one request; empty where the header was not given."""

    if_match: str = ""
    if_none_match: str = ""

    def require(self, etag: str) -> None:
        """Raise PreconditionFailed where a change was meant for another version than the one with this tag."""
        if self.if_match and not _names(self.if_match, etag):
            raise PreconditionFailed(f"If-Match does not name the present version, which is {etag}.", {"ETag": etag})
        if self.unchanged(etag):
            raise PreconditionFailed(f"If-None-Match names the present version, {etag}.", {"ETag": etag})

    def require_readable(self, etag: str) -> None:
        """As `require`, for a GET, whose If-None-Match asks for a 304 and not for a refusal."""
        Conditions(if_match=self.if_match).require(etag)

    def unchanged(self, etag: str) -> bool:
        """Whether the client says that it has this version already."""
        return bool(self.if_none_match) and _names(self.if_none_match.replace("W/", ""), etag)


def _names(header: str, etag: str) -> bool:
    return header.strip() == "*" or etag in _TAG.findall(header)
