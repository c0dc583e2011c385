"""The fields and files of a form that a browser has sent (application/x-www-form-urlencoded, multipart/form-data).

Forms are parsed in the thread that controls calls, some of them before a user is known. All limits together bound that
to some hundredths of a second.
"""

from dataclasses import dataclass
from io import BytesIO
from typing import Final
from urllib.parse import parse_qsl

from multipart import MultipartError, MultipartParser, MultipartPart, ParserLimitReached, parse_options_header

from voxrec.web.errors import BadRequest, TooLarge
from voxrec.web.request import Request

MAX_FIELDS: Final = 1100  # a user may be limited to 1,000 Profiles
MAX_SIZE: Final = 262_144  # bytes without files; a note has up to 10,000 characters, each of up to 12 bytes
MAX_SIZE_WITHOUT_USER: Final = 65_536  # bytes
_MULTIPART: Final = "multipart/form-data"
_MAX_PARTS: Final = 64  # only forms with files are sent in parts
_MAX_HEADERS: Final = 8  # of a part
_MAX_HEADER: Final = 2048  # bytes, with the name of a file
_IN_MEMORY: Final = 16_777_216  # bytes, more than a body may have
_NOT_A_FORM: Final = "The body is not a form."


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """A file that a user has chosen. ``name`` is the one that the browser says, which may be anything."""

    name: str
    content: bytes


def form_entries(request: Request, limit: int = MAX_SIZE) -> list[tuple[str, str]]:
    """Return the names and values of the fields, in their order, without files.

    ``limit`` is the maximum size in bytes, without files. Raises BadRequest or TooLarge.
    """
    if _is_multipart(request):
        texts = [part for part in _parts(request) if part.filename is None]
        _require_size(sum(part.size for part in texts), limit)
        # Browsers send UTF-8, the encoding of the pages. What a part names may be any codec of Python: some take
        # quadratic time, such as Punycode, and some do not decode to text.
        return [(part.name, _decode(part.raw)) for part in texts]
    _require_size(len(request.raw_body), limit)
    try:
        return parse_qsl(_decode(request.raw_body), keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError as error:
        raise BadRequest(_NOT_A_FORM) from error


def uploaded_files(request: Request, field: str) -> list[UploadedFile]:
    """Return the files that were chosen for a field. Raises BadRequest or TooLarge."""
    files = [UploadedFile(part.filename, part.raw) for part in _files(request) if part.name == field]
    return [file for file in files if file.name or file.content]  # a browser sends an empty one if none was chosen


def has_files(request: Request) -> bool:
    """Return whether the user has chosen files. Raises BadRequest or TooLarge."""
    return any(part.filename or part.size for part in _files(request))


def _files(request: Request) -> list[MultipartPart]:
    return [part for part in _parts(request) if part.filename is not None] if _is_multipart(request) else []


def _require_size(size: int, limit: int) -> None:
    if size > limit:
        raise TooLarge(f"The form must have at most {limit} bytes.")


def _decode(text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise BadRequest(_NOT_A_FORM) from error


def _is_multipart(request: Request) -> bool:
    return bool(parse_options_header(request.headers.get("content-type", ""))[0] == _MULTIPART)


def _parts(request: Request) -> list[MultipartPart]:
    """Return the parts. Their content stays in memory: a private key that was chosen by mistake must reach no disk."""
    options = parse_options_header(request.headers.get("content-type", ""))[1]
    try:
        parts: list[MultipartPart] = MultipartParser(
            BytesIO(request.raw_body),
            options.get("boundary", ""),
            content_length=len(request.raw_body),
            strict=True,
            header_limit=_MAX_HEADERS,
            headersize_limit=_MAX_HEADER,
            part_limit=_MAX_PARTS,
            spool_limit=_IN_MEMORY,
            memory_limit=_IN_MEMORY,
            disk_limit=0,
        ).parts()
    except ParserLimitReached as error:
        raise TooLarge("The form has too many parts, or too long headers.") from error
    except (MultipartError, ValueError) as error:
        raise BadRequest(_NOT_A_FORM) from error
    return parts
