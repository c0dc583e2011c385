"""Validation of the filters that exports and bulk actions receive as JSON."""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from voxrec.errors import FieldError
from voxrec.model import ExportQuery, tag_errors
from voxrec.model.recording_query import SEARCH

_MAX_METADATA: Final = 1000  # bytes of JSON of q, as in GET /recordings


def validate_query(query: ExportQuery, _values: Mapping[str, Any]) -> list[FieldError]:
    """Return the errors that the types of the fields cannot express."""
    errors = []
    if query.since and query.until and query.until <= query.since:
        errors.append(FieldError("until", "is not later than since"))
    if query.q is not None and len(msgspec.json.encode(query.q)) > _MAX_METADATA:
        errors.append(FieldError("q", f"has more than {_MAX_METADATA} bytes as JSON"))
    errors += [FieldError("tag", error.message) for error in tag_errors(query.tag)]
    if query.search is not None and not re.search(SEARCH, query.search):
        errors.append(FieldError("search", "must have a letter or a digit, and no U+0000"))
    return errors
