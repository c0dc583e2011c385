"""The target of a request (RFC 9112 section 3.2), and its path as routes match it."""

import re
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from voxrec.errors import NotFound
from voxrec.web.errors import BadRequest

_UNENCODED: Final = "/!$&'()*+,;=:@"  # what a path may contain besides letters, digits and -._~ (RFC 3986)
_ABSOLUTE: Final = re.compile(rb"https?://[^/?#]*", re.IGNORECASE)


def origin_form(target: bytes) -> bytes:
    """Return the path and the query of a target, which may also be a URL (absolute-form, as proxies receive it)."""
    match = _ABSOLUTE.match(target)
    if match is None:
        return target
    rest = target[match.end() :]
    return rest if rest.startswith(b"/") else b"/" + rest


def decoded_path(path: bytes) -> str:
    """Return a path without percent-encoding.

    Raises NotFound for what Klein would take for another path, BadRequest if it is not percent-encoded UTF-8 with a
    slash at its beginning.
    """
    if not path.startswith(b"/"):  # Twisted removes the first character, whatever it is
        raise BadRequest("The path does not begin with a slash.")
    if path.startswith(b"//"):  # Klein would remove the first slash, so a resource would have two URLs
        raise NotFound("There is no such resource. Paths begin with a single slash.")
    try:
        path.decode("ascii")
        decoded = unquote_to_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRequest("The path is not percent-encoded UTF-8.") from error
    if decoded.count("/") != path.count(b"/"):  # a slash in a segment does not divide it (RFC 3986 section 2.2)
        raise NotFound("There is no such resource. The slashes of a path are not percent-encoded.")
    return decoded


def canonical_path(path: bytes) -> str:
    """Return a path with percent-encoding only where it is needed, so that it identifies a resource.

    Raises what `decoded_path` raises.
    """
    return quote(decoded_path(path), _UNENCODED) if b"%" in path else path.decode("ascii")
