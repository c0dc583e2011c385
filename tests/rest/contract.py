"""What schemathesis has to know beyond the OpenAPI document: it runs in a process of its own and imports this."""

import json
import os
import re
from datetime import UTC
from typing import Any, Final

import schemathesis
from hypothesis import strategies as st

from voxrec.rest.query import cursor_text
from voxrec.store.keyset import Cursor

_UUID: Final = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}")
_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\dT.*(Z|[+-]\d\d:\d\d)")
_LABELS = st.from_regex(r"[a-z][a-z0-9]{0,9}(-[a-z0-9]{1,9})?", fullmatch=True)
_HOSTS = st.builds("{}.example".format, _LABELS) | st.sampled_from(["192.0.2.7", "192.0.2.7:5062"])
schemathesis.openapi.format(
    "sip-uri",
    st.builds(
        "{}:{}{}{}".format,
        st.sampled_from(["sip", "sips", "SIP"]),
        st.sampled_from(["", "desk@", "%22a%22:secret@", "+4930123@"]),
        _HOSTS,
        st.sampled_from(["", ";transport=tls", ";lr;maddr=[::1]"]),
    ),
)


schemathesis.openapi.format(
    "cursor",
    st.builds(Cursor, st.datetimes(timezones=st.just(UTC)), st.uuids()).map(cursor_text),
)
schemathesis.openapi.format(
    "json-object",
    st.dictionaries(st.sampled_from(["customer", "ä"]), st.sampled_from(["42", None, True, [1]])).map(json.dumps),
)


@schemathesis.hook
def before_call(_context: schemathesis.HookContext, case: schemathesis.Case, _kwargs: dict[str, Any]) -> None:
    """Say what the document cannot: which things there are, that a cursor needs a limit, and what is still to come."""
    if isinstance(case.body, dict):
        profile = (case.path_parameters or {}).get("profileId", os.environ["CONTRACT_PROFILE"])
        for key, value in (
            ("profileId", profile),
            ("profileIds", [profile]),
            ("recordPromptCustomId", os.environ["CONTRACT_PROMPT"]),
            ("expiresAt", "2999-01-01T00:00:00Z"),
        ):
            if key in case.body and _fits(case.body[key]):
                case.body[key] = value
    if case.query and "cursor" in case.query:
        case.query.setdefault("limit", 5)


def _fits(value: object) -> bool:
    """Whether it is a UUID, several of them, or a date and time: what is wrong on purpose has to stay wrong."""
    if isinstance(value, list):
        return bool(value) and len(value) < 1000 and all(map(_fits, value))
    return isinstance(value, str) and bool(_UUID.fullmatch(value) or _MOMENT.fullmatch(value))
