"""Hooks for schemathesis, which imports this module in its own process: what the OpenAPI document cannot express."""

import json
import os
import re
from datetime import UTC, datetime, timedelta
from io import BytesIO
from itertools import count
from typing import Any, Final
from uuid import uuid4

import schemathesis
import soundfile
from hypothesis import strategies as st

from voxrec.api.audio.audio_inspection import ACCEPTED_TYPES
from voxrec.audio.convert import AudioChannel
from voxrec.audio.formats import FORMATS
from voxrec.cursor import Cursor
from voxrec.model import RecordingSort
from voxrec.model.recipient_certificate import MAX_CERTIFICATE_LENGTH
from voxrec.web.pagination import encode_cursor

_UUID: Final = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)
_key_numbers: Final = count(1)
_TIMESTAMP: Final = re.compile(r"\d{4}-\d\d-\d\dT.*(Z|[+-]\d\d:\d\d)")
_LABELS = st.from_regex(r"[a-z][a-z0-9]{0,9}(-[a-z0-9]{1,9})?", fullmatch=True)
_HOSTS = st.builds("{}.example".format, _LABELS) | st.sampled_from(["192.0.2.7", "192.0.2.7:5062"])
schemathesis.openapi.format(
    "sip-uri",
    st.builds(
        "{}:{}{}{}".format,
        st.sampled_from(["sip", "sips", "SIP"]),
        st.sampled_from(["", "desk@", "%22a%22:secret@", "+4930123@"]),
        _HOSTS,
        st.sampled_from(["", ";transport=tls", ";lr;user=phone"]),
    ),
)
_ADDRESSES = st.builds(
    "{}@{}".format, st.sampled_from(["desk", "a.b+c", "M\u00fcller"]), _LABELS.map("{}.example".format)
) | st.sampled_from(["ann@b\u00fccher.example", "ann@xn--bcher-kva.example"])
schemathesis.openapi.format("mail-address", _ADDRESSES)
schemathesis.openapi.format("mail-address-list", st.lists(_ADDRESSES, min_size=1, max_size=3).map(",".join))
schemathesis.openapi.format("mail-addresses", st.lists(_ADDRESSES, min_size=1, max_size=3).map(", ".join))


schemathesis.openapi.format("time-zone", st.sampled_from(["UTC", "Europe/Berlin", "America/New_York"]))
schemathesis.openapi.format("idempotency-key", st.integers(0, 10**6).map("key-{}".format))
schemathesis.openapi.format(
    "cursor",
    st.builds(Cursor, st.datetimes(timezones=st.just(UTC)), st.uuids()).map(encode_cursor),
)
schemathesis.openapi.format(
    "json-object",
    st.dictionaries(st.sampled_from(["customer", "ä"]), st.sampled_from(["42", None, True, [1]])).map(json.dumps),
)


def _encode_wav(samples: list[float]) -> bytes:
    file = BytesIO()
    soundfile.write(file, samples, 8000, format="WAV")
    return file.getvalue()


for media_type in ("application/octet-stream", *ACCEPTED_TYPES):
    schemathesis.openapi.media_type(media_type, st.lists(st.floats(-1, 1), min_size=1, max_size=50).map(_encode_wav))


@schemathesis.hook
def before_call(_context: schemathesis.HookContext, case: schemathesis.Case[Any], _kwargs: dict[str, Any]) -> None:
    """Replace valid generated values that would be refused: ids of unknown resources, and conflicting fields."""
    path = case.path_parameters or {}
    if case.method == "DELETE" and path.get("id") in (os.environ["CONTRACT_PROFILE"], os.environ["CONTRACT_PROMPT"]):
        path["id"] = str(uuid4())  # the other tests need them
    if case.path.startswith("/jobs/") and case.method in ("GET", "POST") and _is_valid(path.get("id")):
        path["id"] = os.environ["CONTRACT_JOB"]  # jobs cannot be created by REST
    if case.headers and case.headers.get("Idempotency-Key", "").startswith("key-"):
        case.headers["Idempotency-Key"] = f"key-{next(_key_numbers)}"  # a key must not be reused for another request
    if isinstance(case.body, dict):
        profile_in_path = path.get("profileId", "")
        profile = profile_in_path if _is_valid(profile_in_path) else os.environ["CONTRACT_PROFILE"]
        for key, value in (
            ("profileId", profile),
            ("profileIds", [profile]),
            ("recordPromptCustomId", os.environ["CONTRACT_PROMPT"]),
            ("expiresAt", "2999-01-01T00:00:00Z"),
            ("startedAt", "2999-01-01T00:00:00Z"),  # an import whose retention has passed is refused
        ):
            if key in case.body and _is_valid(case.body[key]):
                case.body[key] = value
        is_filter = case.path in ("/exports", "/bulk-actions")
        if is_filter and _is_valid(case.body.get("since")) and _is_valid(case.body.get("until")):
            case.body["since"], case.body["until"] = "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"  # in this order
        if case.path.endswith("/links") and _is_valid(case.body.get("expiresAt")):
            case.body["expiresAt"] = (datetime.now(UTC) + timedelta(days=1)).isoformat()  # links.max_days is less
        if _is_valid(case.body.get("startedAt")) and _is_valid(case.body.get("endedAt")):
            case.body["endedAt"] = case.body["startedAt"]  # must not be earlier than startedAt
        if _is_valid(case.body.get("startedAt")) and isinstance(case.body.get("legalHold", False), bool):
            case.body["legalHold"] = True  # a recording must not have expired by the retentionDays of its Profile
        if "recordPromptCustomId" in case.body and case.method == "POST":
            case.body.setdefault("recordPrompt", "none")  # the stored value may require the id
        if case.body.get("recordPrompt") == "custom" and case.body.get("recordPromptCustomId") is None:
            case.body["recordPromptCustomId"] = os.environ["CONTRACT_PROMPT"]
        if isinstance(secret := case.body.get("secret"), str):
            # in Python, but not in ECMA 262, $ also matches before a line feed at the end
            case.body["secret"] = secret.removesuffix("\n")
        if "recordResumeCode" in case.body:
            case.body.setdefault("recordPauseCode", "*1")
        if case.body.get("recordPauseCode", "") is None:
            case.body["recordResumeCode"] = None
        if isinstance(case.body.get("minDurationSeconds"), int | float):
            case.body["maxDurationSeconds"] = None
        elif isinstance(case.body.get("maxDurationSeconds"), int) and case.method == "POST":
            case.body.setdefault("minDurationSeconds", 0)  # the stored value may be greater
        if {"pauseBehavior", "resumeAfter"} & case.body.keys() and "state" not in case.body:
            case.body["state"] = "paused"
        if case.body.get("state") == "recording":
            case.body.pop("pauseBehavior", None)
            case.body.pop("resumeAfter", None)
        audio_format = FORMATS.get(str(case.body.get("recordFormat")))
        if (
            audio_format is not None
            and audio_format.channels == 1
            and case.body.get("recordChannels", "dual") == "dual"
        ):
            case.body["recordChannels"] = "mono"
        elif case.body.get("recordChannels") == "dual" and case.method == "POST":
            case.body.setdefault("recordFormat", "wav")  # the stored format may hold one channel only
        if case.body.get("role") == "admin" and case.body.get("profileIds"):
            case.body["role"] = "read"  # an admin token cannot be limited to Profiles
        if case.path.startswith("/recipient-certificates") and _is_certificate_text(case.body.get("certificate")):
            case.body["certificate"] = os.environ["CONTRACT_CERTIFICATE"]  # texts that are none are refused
            if isinstance(case.body.get("otherAddressAllowed", False), bool):
                case.body["otherAddressAllowed"] = True  # the generated addresses are not those of the certificate
        if (
            case.path.endswith("/deliveries")
            and case.body.get("deliveryId") is None
            and _is_text(case.body.get("target"))
        ):
            case.body["target"] = "desk@example.org"  # required then
    if case.query and case.query.get("channel") in tuple(AudioChannel):
        del case.query["channel"]  # the generated recordings have one channel
    if case.query and "cursor" in case.query:
        case.query.setdefault("limit", 5)
        if case.query.get("sort") in tuple(RecordingSort):
            del case.query["sort"]  # a cursor belongs to the order of its list
    if case.path == "/recording-counts" and case.query and _is_valid(case.query.get("since")):
        case.query["until"] = case.query["since"]  # must not be later, nor more than a week earlier


def _is_certificate_text(value: object) -> bool:
    return isinstance(value, str) and 1 <= len(value) <= MAX_CERTIFICATE_LENGTH


def _is_text(value: object) -> bool:
    return value is None or (isinstance(value, str) and 1 <= len(value) <= 254)


def _is_valid(value: object) -> bool:
    """Return whether a value is a UUID, a list of UUIDs, or a timestamp; deliberately invalid values must stay so."""
    if isinstance(value, list):
        return bool(value) and len(value) < 1000 and all(map(_is_valid, value))
    return isinstance(value, str) and bool(_UUID.fullmatch(value) or _TIMESTAMP.fullmatch(value))
