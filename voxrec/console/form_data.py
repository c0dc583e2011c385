"""The fields and files of a form that a browser has sent (application/x-www-form-urlencoded, multipart/form-data)."""

from dataclasses import dataclass
from io import BytesIO
from typing import Final
from urllib.parse import parse_qsl

from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser
from werkzeug.http import parse_options_header

from voxrec.web.errors import BadRequest
from voxrec.web.request import Request

MAX_FIELDS: Final = 1100  # a user may be limited to 1,000 Profiles
_MULTIPART: Final = "multipart/form-data"


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """A file that a user has chosen. ``name`` is the one that the browser says, which may be anything."""

    name: str
    content: bytes


def form_entries(request: Request) -> list[tuple[str, str]]:
    """Return the names and values of the fields, in their order, without files. Raises BadRequest."""
    if _is_multipart(request):
        return [*_parse_multipart(request)[0]]
    try:
        return parse_qsl(request.raw_body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError as error:
        raise BadRequest("The body is not a form.") from error


def uploaded_files(request: Request, field: str) -> list[UploadedFile]:
    """Return the files that were chosen for a field. Raises BadRequest."""
    return [file for name, file in _parse_multipart(request)[1] if name == field] if _is_multipart(request) else []


def has_files(request: Request) -> bool:
    """Return whether the user has chosen files. Raises BadRequest."""
    return _is_multipart(request) and bool(_parse_multipart(request)[1])


def _is_multipart(request: Request) -> bool:
    return parse_options_header(request.headers.get("content-type"))[0] == _MULTIPART


def _parse_multipart(request: Request) -> tuple[list[tuple[str, str]], list[tuple[str, UploadedFile]]]:
    body, options = request.raw_body, parse_options_header(request.headers.get("content-type"))[1]
    parser = FormDataParser(_in_memory, len(body), max_form_parts=MAX_FIELDS, silent=False)
    try:
        _, fields, files = parser.parse(BytesIO(body), _MULTIPART, len(body), options)
    except (ValueError, RequestEntityTooLarge) as error:
        raise BadRequest("The body is not a form.") from error
    # a browser sends a file without name and content if none was chosen
    chosen = [(name, UploadedFile(file.filename or "", file.read())) for name, file in files.items(multi=True)]
    return [*fields.items(multi=True)], [(name, file) for name, file in chosen if file.name or file.content]


def _in_memory(
    total_content_length: int | None,  # noqa: ARG001 - the names are those with which the parser calls it
    content_type: str | None,  # noqa: ARG001
    filename: str | None,  # noqa: ARG001
    content_length: int | None = None,  # noqa: ARG001
) -> BytesIO:
    """Return where the content of a file is kept. A private key that was chosen by mistake must not get onto a disk."""
    return BytesIO()
