"""Property tests: every valid Profile or Recording is returned unchanged, through REST and PostgreSQL."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final, TypeVar
from uuid import UUID

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.api.rest_test_case import PROMPT_ID, RestTestCase
from tests.subtest import subtest
from voxrec.model import SideVerdict, TimelineEntry, Verdict
from voxrec.model.fields import HTTP_URL

T = TypeVar("T")

EXAMPLES: Final = 60
TEXTS: Final = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=255)
UUIDS: Final = st.uuids(version=4).map(str)
TIMESTAMPS: Final = st.datetimes(datetime(1970, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)).map(
    lambda moment: moment.isoformat().replace("+00:00", "Z")
)
JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=8,
)
METADATA: Final = st.dictionaries(TEXTS, JSON, max_size=4).filter(
    lambda metadata: len(json.dumps(metadata, ensure_ascii=False).encode()) <= 7000
)
_ATOM: Final = r"[a-z0-9!#$%&'*+/=^_`{|}~-]{1,10}"
ADDRESSES: Final = st.from_regex(rf"{_ATOM}(\.{_ATOM})?@[a-z0-9]{{1,20}}\.example", fullmatch=True)
PROFILES: Final = st.fixed_dictionaries(
    {},
    optional={
        "id": UUIDS,
        "name": st.none() | TEXTS,
        "email": st.none() | st.lists(ADDRESSES, min_size=1, max_size=4).map(", ".join),
        "remoteSipUri": st.none()
        | st.from_regex(r"sips?:([a-z0-9+$;?/]{1,20}@)?[a-z][a-z0-9]{0,20}\.example", fullmatch=True),
        "numbers": st.lists(st.from_regex(r"\+[1-9][0-9]{9,14}", fullmatch=True), unique=True, max_size=4),
        "record": st.booleans(),
        "recordFormat": st.sampled_from(["wav", "mp3"]),
        "recordChannels": st.sampled_from(["mono", "dual"]),
        "recordBeepAtStart": st.booleans(),
        "recordBeepInterval": st.integers(0, 86400),
        "recordPrompt": st.sampled_from(["none", "default"]),
        "recordPromptCustomId": st.sampled_from([None, str(PROMPT_ID)]),
        "webhookUrl": st.none() | st.from_regex(HTTP_URL, fullmatch=True),
        "retentionDays": st.none() | st.integers(1, 36500),
        "metadata": METADATA,
    },
)
RECORDINGS: Final = st.fixed_dictionaries(
    {},
    optional={
        "id": UUIDS,
        "callId": st.none() | st.uuids().map(str),
        "format": st.sampled_from(["wav", "mp3"]),
        "channels": st.sampled_from([1, 2]),
        "startedAt": st.none() | TIMESTAMPS,
        "from": st.none() | TEXTS,
        "fromName": st.none() | TEXTS,
        "to": st.none() | TEXTS,
        "remoteSipUri": st.none() | TEXTS,
        "hangupCause": st.none() | st.integers(0, 127),
        "metadata": METADATA,
        "legalHold": st.booleans(),
    },
)
# JSON numbers that jsonb writes differently, or that a float cannot represent exactly
NUMBERS: Final = ("1e22", "-0.0", "1e2", "1.50", "5e-324", "1.7976931348623157e308", "0.1", "-0", "9007199254740993")


def examples(strategy: st.SearchStrategy[T]) -> Iterator[T]:
    """Generate the same examples in every run.

    They are collected first, because hypothesis cannot wait for Deferreds.
    """
    found: list[T] = []

    @seed(20260131)
    @settings(
        max_examples=EXAMPLES,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(example: T) -> None:
        found.append(example)

    collect()
    return iter(found)


def normalize_numbers(value: Any) -> Any:
    """Convert all numbers to float.

    JSON has one kind of number, with the precision of a double (RFC 8259 section 6), so 1e22 may be sent as digits.
    """
    match value:
        case bool():
            return value
        case int() | float():
            return float(value)
        case list():
            return [normalize_numbers(item) for item in value]
        case dict():
            return {key: normalize_numbers(item) for key, item in value.items()}
    return value


def as_python_writes(text: str) -> str:
    """Return a time as a client in Python writes it after parsing it; other text is not changed."""
    try:
        return datetime.fromisoformat(text).isoformat()
    except ValueError:
        return text


def as_javascript_writes(text: str) -> str:
    """Return a time as JavaScript's Date.toISOString() writes it."""
    try:
        moment = datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        return text
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z"


def as_local_time(text: str) -> str:
    """Return a time in another time zone."""
    try:
        return datetime.fromisoformat(text).astimezone(timezone(timedelta(hours=-3, minutes=-30))).isoformat()
    except ValueError:
        return text


def as_upper_case_uuid(text: str) -> str:
    """Return a UUID in upper case."""
    try:
        return text.upper() if str(UUID(text)) == text else text
    except ValueError:
        return text


def convert_values(value: Any, convert_text: Callable[[str], str]) -> Any:
    """Return decoded JSON with all strings converted, and without the fraction of integral numbers."""
    match value:
        case str():
            return convert_text(value)
        case float() if value.is_integer():
            return int(value)
        case list():
            return [convert_values(item, convert_text) for item in value]
        case dict():
            return {key: convert_values(item, convert_text) for key, item in value.items()}
    return value


class ForeignNotationTests(RestTestCase):
    """A client may GET a resource, parse it into types of its own, change one field and send everything back."""

    async def check_sent_back(self, method: str, path: str, change: dict[str, Any]) -> None:
        for convert_text in (as_python_writes, as_javascript_writes, as_local_time, as_upper_case_uuid):
            with subtest(f"{method} {path} {convert_text.__name__}"):
                current = await self.request("GET", path)
                sent = {**convert_values(current.json, convert_text), **change}
                response = await self.request(method, path, json=sent, headers={"If-Match": current.etag})
                self.assertEqual(response.status, 200, response.body)
                self.assertEqual(response.json["id"], current.json["id"])
                refused = await self.request(method, path, json={**change, "createdAt": "2026-01-31T09:30:01Z"})
                self.assertEqual((refused.status, refused.error_fields), (422, ["createdAt"]), refused.body)

    async def test_profile(self) -> None:
        profile = (await self.request("PUT", "/profiles", json={"name": "a", "numbers": ["+4930123"]})).json
        await self.check_sent_back("POST", f"/profiles/{profile['id']}", {"name": "b"})

    async def test_prompt(self) -> None:
        prompt = (await self.request("PUT", "/prompts", json={"name": "a"})).json
        await self.check_sent_back("PUT", f"/prompts/{prompt['id']}", {"name": "b"})

    async def test_imported_recording(self) -> None:
        profile = await self.add_profile()
        times = {"startedAt": "2026-01-30T10:00:00.123456Z", "endedAt": "2026-01-30T10:00:01Z"}
        fields = {"profileId": str(profile.id), "callId": str(PROMPT_ID), "from": "+4930", **times}
        recording = (await self.request("PUT", "/recordings", json=fields)).json
        await self.check_sent_back("POST", f"/recordings/{recording['id']}", {"metadata": {"a": 1}})

    async def test_recorded_call(self) -> None:
        side = SideVerdict(speech_seconds=3.0, level_dbfs=-20.0, clipped=False)
        recording = await self.add_recording(
            created_at=datetime(2026, 2, 1, 10, 0, 0, 987654, UTC),
            started_at=datetime(2026, 2, 1, 10, 0, 0, 987654, UTC),
            duration=4.0,
            size=64044,
            timeline=(TimelineEntry(at=0.0, event="answered", by="callee"), TimelineEntry(at=4.0, event="hangup")),
            verdict=Verdict(ok=True, caller=side),
        )
        await self.check_sent_back("POST", f"/recordings/{recording.id}", {"legalHold": True})

    async def test_job(self) -> None:
        [[job_id]] = await self.pool.returning(
            "INSERT INTO jobs (kind, recording_id, dead, last_error) VALUES ('mail', %s, TRUE, '550') RETURNING id",
            (PROMPT_ID,),
        )
        await self.check_sent_back("POST", f"/jobs/{job_id}", {"state": "pending"})


class RoundTripTests(RestTestCase):
    async def check_retrieval(self, path: str, body: dict[str, Any], etag: str) -> None:
        """Check that the resource and its list have the same representation, and that the ETag is valid."""
        for url in (path, f"{path.rpartition('/')[0]}?limit=1000"):
            json_ = (await self.request("GET", url)).json
            self.assertIn(body, [json_] if isinstance(json_, dict) else json_)
        retrieved = await self.request("GET", path)
        self.assertEqual(retrieved.etag, etag)
        unchanged = await self.request("GET", path, headers={"If-None-Match": etag})
        self.assertEqual(unchanged.status, 304)
        changed = await self.request("POST", path, json={}, headers={"If-Match": etag})
        self.assertEqual((changed.status, changed.etag), (200, etag), changed.body)

    async def check_round_trip(self, collection: str, fields: dict[str, Any], raw: bytes) -> None:
        created = await self.request("PUT", collection, data=raw, headers={"Content-Type": "application/json"})
        self.assertEqual(created.status, 201, created.body)
        for key, value in fields.items():
            self.assertEqual(normalize_numbers(created.json[key]), normalize_numbers(value), key)
        path = f"{collection}/{created.json['id']}"
        await self.check_retrieval(path, created.json, created.etag)
        updated = await self.request("POST", path, json=created.json)  # the whole representation may be sent back
        self.assertEqual((updated.status, updated.etag), (200, created.etag), updated.body)
        if created.json.get("legalHold"):
            await self.request("POST", path, json={"legalHold": False})
        self.assertEqual((await self.request("DELETE", path)).status, 204)

    async def test_profiles(self) -> None:
        for fields in examples(PROFILES):
            with subtest(fields):
                await self.check_round_trip("/profiles", fields, json.dumps(fields).encode())

    async def test_recordings(self) -> None:
        profile = await self.add_profile()
        for example in examples(RECORDINGS):
            fields = {**example, "profileId": str(profile.id)}
            with subtest(fields):
                await self.check_round_trip("/recordings", fields, json.dumps(fields).encode())

    async def test_profile_updates(self) -> None:
        profile = await self.add_profile()
        for example in examples(PROFILES):
            change = {key: value for key, value in example.items() if key != "id"}
            with subtest(change):
                changed = await self.request("POST", f"/profiles/{profile.id}", json=change)
                self.assertEqual(changed.status, 200, changed.body)
                self.assertEqual(
                    normalize_numbers({key: changed.json[key] for key in change}), normalize_numbers(change)
                )
                await self.check_retrieval(f"/profiles/{profile.id}", changed.json, changed.etag)

    async def test_numbers_that_jsonb_writes_differently(self) -> None:
        profile = await self.add_profile()
        for number in NUMBERS:
            profile_body = f'{{"metadata": {{"n": {number}}}}}'.encode()
            recording_body = f'{{"profileId": "{profile.id}", "metadata": {{"n": {number}}}}}'.encode()
            with subtest(number):
                await self.check_round_trip("/profiles", {"metadata": {"n": json.loads(number)}}, profile_body)
                await self.check_round_trip("/recordings", {"metadata": {"n": json.loads(number)}}, recording_body)

    async def test_integer_with_a_decimal_point(self) -> None:
        created = await self.request(
            "PUT", "/profiles", data=b'{"recordBeepInterval": 15.0}', headers={"Content-Type": "application/json"}
        )
        self.assertEqual((created.status, created.json["recordBeepInterval"]), (201, 15))
        self.assertEqual(UUID(created.json["id"]).version, 4)
