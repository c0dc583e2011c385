"""Whatever fits a Profile or a Recording comes back unchanged, through REST and PostgreSQL."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final, TypeVar
from uuid import UUID

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.api.rest_test_case import PROMPT_ID, RestTestCase
from tests.subtest import subtest

T = TypeVar("T")

EXAMPLES: Final = 60
TEXTS: Final = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=255)
UUIDS: Final = st.uuids(version=4).map(str)
MOMENTS: Final = st.datetimes(datetime(1970, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)).map(
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
ADDRESSES: Final = st.from_regex(r"[a-z0-9.!#$%&'*+/=?^_`{|}~-]{1,20}@[a-z0-9]{1,20}\.example", fullmatch=True)
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
        "webhookUrl": st.none() | st.from_regex(r"https?://[!-~]{1,200}", fullmatch=True),
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
        "startedAt": st.none() | MOMENTS,
        "from": st.none() | TEXTS,
        "fromName": st.none() | TEXTS,
        "to": st.none() | TEXTS,
        "remoteSipUri": st.none() | TEXTS,
        "hangupCause": st.none() | st.integers(0, 127),
        "metadata": METADATA,
        "legalHold": st.booleans(),
    },
)
# JSON numbers that jsonb writes in another way, or that need more than a float to be told exactly
NUMBERS: Final = ("1e22", "-0.0", "1e2", "1.50", "5e-324", "1.7976931348623157e308", "0.1", "-0", "9007199254740993")


def examples(strategy: st.SearchStrategy[T]) -> Iterator[T]:
    """Always the same ones. They are collected before they are used: hypothesis cannot wait for the reactor."""
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
    def collect(one: T) -> None:
        found.append(one)

    collect()
    return iter(found)


def as_numbers_are(value: Any) -> Any:
    """JSON knows one kind of number, with the precision of a double (RFC 8259 section 6): 1e22 may come as digits."""
    match value:
        case bool():
            return value
        case int() | float():
            return float(value)
        case list():
            return [as_numbers_are(one) for one in value]
        case dict():
            return {key: as_numbers_are(one) for key, one in value.items()}
    return value


class RoundTripTests(RestTestCase):
    async def same(self, path: str, body: dict[str, Any], etag: str) -> None:
        """What was answered is what is shown, in every way, and its tag holds."""
        for way in (path, f"{path.rpartition('/')[0]}?limit=1000"):
            shown = (await self.request("GET", way)).json
            self.assertIn(body, [shown] if isinstance(shown, dict) else shown)
        shown_again = await self.request("GET", path)
        self.assertEqual(shown_again.etag, etag)
        unchanged = await self.request("GET", path, headers={"If-None-Match": etag})
        self.assertEqual(unchanged.status, 304)
        changed = await self.request("POST", path, json={}, headers={"If-Match": etag})
        self.assertEqual((changed.status, changed.etag), (200, etag), changed.body)

    async def goes_round(self, collection: str, given_: dict[str, Any], given_raw: bytes) -> None:
        made = await self.request("PUT", collection, data=given_raw, headers={"Content-Type": "application/json"})
        self.assertEqual(made.status, 201, made.body)
        for key, value in given_.items():
            self.assertEqual(as_numbers_are(made.json[key]), as_numbers_are(value), key)
        path = f"{collection}/{made.json['id']}"
        await self.same(path, made.json, made.etag)
        whole = await self.request("POST", path, json=made.json)  # all of it may be given back
        self.assertEqual((whole.status, whole.etag), (200, made.etag), whole.body)
        if made.json.get("legalHold"):
            await self.request("POST", path, json={"legalHold": False})
        self.assertEqual((await self.request("DELETE", path)).status, 204)

    async def test_profiles(self) -> None:
        for one in examples(PROFILES):
            with subtest(one):
                await self.goes_round("/profiles", one, json.dumps(one).encode())

    async def test_recordings(self) -> None:
        profile = await self.add_profile()
        for one in examples(RECORDINGS):
            given_ = {**one, "profileId": str(profile.id)}
            with subtest(given_):
                await self.goes_round("/recordings", given_, json.dumps(given_).encode())

    async def test_changes_are_what_was_given(self) -> None:
        profile = await self.add_profile()
        for one in examples(PROFILES):
            change = {key: value for key, value in one.items() if key != "id"}
            with subtest(change):
                changed = await self.request("POST", f"/profiles/{profile.id}", json=change)
                self.assertEqual(changed.status, 200, changed.body)
                self.assertEqual(as_numbers_are({key: changed.json[key] for key in change}), as_numbers_are(change))
                await self.same(f"/profiles/{profile.id}", changed.json, changed.etag)

    async def test_numbers_that_jsonb_writes_in_its_own_way(self) -> None:
        profile = await self.add_profile()
        for number in NUMBERS:
            metadata = f'{{"metadata": {{"n": {number}}}}}'.encode()
            below = f'{{"profileId": "{profile.id}", "metadata": {{"n": {number}}}}}'.encode()
            with subtest(number):
                await self.goes_round("/profiles", {"metadata": {"n": json.loads(number)}}, metadata)
                await self.goes_round("/recordings", {"metadata": {"n": json.loads(number)}}, below)

    async def test_a_whole_number_may_be_written_with_a_fraction(self) -> None:
        made = await self.request(
            "PUT", "/profiles", data=b'{"recordBeepInterval": 15.0}', headers={"Content-Type": "application/json"}
        )
        self.assertEqual((made.status, made.json["recordBeepInterval"]), (201, 15))
        self.assertEqual(UUID(made.json["id"]).version, 4)
