"""The fields and files of a form that a browser has sent (application/x-www-form-urlencoded, multipart/form-data).

Forms are parsed in the thread that controls calls, some of them before a user is known. All limits together bound that
to some hundredths of a second.
"""

from dataclasses import dataclass, field
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


@dataclass(frozen=True, slots=True)
class _Form:
    """A parsed form. ``size`` is that of its fields in bytes, ``files`` are by field, and may be empty."""

    entries: list[tuple[str, str]]
    size: int
    files: list[tuple[str, UploadedFile]] = field(default_factory=list)


def form_entries(request: Request, limit: int = MAX_SIZE) -> list[tuple[str, str]]:
    """Return the names and values of the fields, in their order, without files.

    ``limit`` is the maximum size in bytes, without files. Raises BadRequest or TooLarge.
    """
    if not _is_multipart(request):
        _require_size(len(request.raw_body), limit)
    form = _form(request)
    _require_size(form.size, limit)
    return form.entries


def uploaded_files(request: Request, field_name: str) -> list[UploadedFile]:
    """Return the files that were chosen for a field. Raises BadRequest or TooLarge."""
    files = [file for name, file in _form(request).files if name == field_name]
    return [file for file in files if file.name or file.content]  # a browser sends an empty one if none was chosen


def has_files(request: Request) -> bool:
    """Return whether the user has chosen files. Raises BadRequest or TooLarge."""
    return any(file.name or file.content for _, file in _form(request).files)


def _form(request: Request) -> _Form:
    """Return the form of a request, which is parsed once."""
    if not isinstance(request.form, _Form):
        request.form = _parse_multipart(request) if _is_multipart(request) else _parse_urlencoded(request)
    return request.form


def _parse_urlencoded(request: Request) -> _Form:
    text = _decode(request.raw_body)
    try:
        return _Form(parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FIELDS), len(request.raw_body))
    except ValueError as error:
        raise BadRequest(_NOT_A_FORM) from error


def _parse_multipart(request: Request) -> _Form:
    parts = _parts(request)
    fields = [part for part in parts if part.filename is None]
    return _Form(
        # Browsers send UTF-8, the encoding of the pages. What a part names may be any codec of Python: some take
        # quadratic time, such as Punycode, and some do not decode to text.
        [(part.name, _decode(part.raw)) for part in fields],
        sum(part.size for part in fields),
        [(part.name, UploadedFile(part.filename, part.raw)) for part in parts if part.filename is not None],
    )


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
