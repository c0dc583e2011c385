"""Validation of the filters that exports and bulk actions receive as JSON."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import msgspec

from voxrec.error_codes import FieldErrorCode
from voxrec.errors import FieldError
from voxrec.model import ExportQuery, tag_errors
from voxrec.model.recording_query import SEARCH

_MAX_METADATA: Final = 1000  # bytes of JSON of q, as in GET /recordings


def validate_query(query: ExportQuery, _values: Mapping[str, Any]) -> list[FieldError]:
    """Return the errors that the types of the fields cannot express."""
    errors = []
    if query.since and query.until and query.until <= query.since:
        params = {"other": "since"}
        errors.append(FieldError("until", "is not later than since", FieldErrorCode.NOT_LATER_THAN, params))
    if query.q is not None and len(msgspec.json.encode(query.q)) > _MAX_METADATA:
        message = f"has more than {_MAX_METADATA} bytes as JSON"
        errors.append(FieldError("q", message, FieldErrorCode.TOO_MANY_BYTES, {"maximum": _MAX_METADATA}))
    errors += [replace(error, field="tag") for error in tag_errors(query.tag)]
    if query.search is not None and not re.search(SEARCH, query.search):
        message = "must have a letter or a digit, and no U+0000"
        errors.append(FieldError("search", message, FieldErrorCode.NO_WORD))
    return errors
