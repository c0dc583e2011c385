"""Profiles over REST: creation, validation, conditional updates, deletion, filters."""

import json
from typing import Any, Final
from urllib.parse import quote
from uuid import UUID, uuid4

from tests.api.rest_test_case import PROMPT_ID, PUBLIC_URL, ClientResponse, RestTestCase
from tests.subtest import subtest

UUID1: Final = "1b4e28ba-2fa1-11d2-883f-0016d3cca427"  # of version 1

FULL: Final = {
    "name": "Front desk",
    "email": "a@example.org, b@example.org",
    "remoteSipUri": "sip:desk@pbx.example:5061;transport=tls",
    "numbers": ["+4930123456", "+4930123457"],
    "record": True,
    "recordFormat": "mp3",
    "recordChannels": "dual",
    "recordBeepAtStart": False,
    "recordBeepInterval": 15,
    "recordPrompt": "custom",
    "recordPromptCustomId": str(PROMPT_ID),
    "webhookUrl": "https://crm.example/hook",
    "retentionDays": 90,
    "metadata": {"z": [1, 2.5, None], "a": {"ä": "☎"}},
}

# the request body, and the fields that the problem document must name
INVALID: Final[tuple[tuple[dict[str, Any], set[str]], ...]] = (
    ({"colour": "red"}, {"colour"}),
    ({"email": "x" * 256}, {"email"}),
    ({"email": "no-address"}, {"email"}),
    ({"email": "a@example.org,,b@example.org"}, {"email"}),
    *(
        ({"email": f"a@example.org, {address}"}, {"email"})
        for address in (
            "a..b@x",
            ".a@x",
            "a.@x",
            f"{'x' * 65}@x",
            "=?utf-8?q?a?=@x",
            '"a b"@x',
            "a@[192.0.2.1]",
            "a@-x",
        )
    ),
    ({"email": "a@b\u00fc_cher.example"}, {"email"}),
    ({"email": "\u00fc\u00a0x@example.org"}, {"email"}),
    ({"email": 5}, {"email"}),
    ({"remoteSipUri": "x" * 256}, {"remoteSipUri"}),
    ({"remoteSipUri": "tel:+4930"}, {"remoteSipUri"}),
    ({"remoteSipUri": "sip:a@b@pbx.example"}, {"remoteSipUri"}),
    ({"remoteSipUri": "sip:a@pbx.example&SIP/trunk/900"}, {"remoteSipUri"}),
    ({"remoteSipUri": "sip:a@elsewhere.test"}, {"remoteSipUri"}),
    ({"remoteSipUri": "sip:a@198.51.100.1"}, {"remoteSipUri"}),
    ({"name": "x" * 256}, {"name"}),
    ({"name": "a\0b"}, {"name"}),
    ({"metadata": {"a\0": 1}}, {"metadata"}),
    ({"metadata": {"a": [{"b": "\0"}]}}, {"metadata"}),
    ({"record": "yes"}, {"record"}),
    ({"record": 1}, {"record"}),
    ({"record": None}, {"record"}),
    ({"recordFormat": "x" * 13}, {"recordFormat"}),
    ({"recordFormat": "xyz"}, {"recordFormat"}),
    ({"recordFormat": ""}, {"recordFormat"}),
    ({"recordFormat": None}, {"recordFormat"}),
    ({"recordChannels": "stereo"}, {"recordChannels"}),
    ({"recordBeepAtStart": None}, {"recordBeepAtStart"}),
    ({"recordBeepInterval": -1}, {"recordBeepInterval"}),
    ({"recordBeepInterval": 1.5}, {"recordBeepInterval"}),
    ({"recordBeepInterval": 10**30}, {"recordBeepInterval"}),
    ({"recordPrompt": "loud"}, {"recordPrompt"}),
    ({"recordPrompt": "custom"}, {"recordPromptCustomId"}),
    ({"recordPrompt": "custom", "recordPromptCustomId": str(uuid4())}, {"recordPromptCustomId"}),
    ({"recordPromptCustomId": UUID1}, {"recordPromptCustomId"}),
    ({"recordPromptCustomId": "7"}, {"recordPromptCustomId"}),
    ({"numbers": ["+4930123456", "+4930123456"]}, {"numbers"}),
    ({"numbers": ["030123456"]}, {"numbers"}),
    ({"numbers": "+4930123456"}, {"numbers"}),
    ({"numbers": None}, {"numbers"}),
    ({"webhookUrl": "ftp://crm.example"}, {"webhookUrl"}),
    ({"webhookUrl": "https://" + "x" * 2048}, {"webhookUrl"}),
    ({"retentionDays": 0}, {"retentionDays"}),
    ({"metadata": []}, {"metadata"}),
    ({"metadata": {"a": "x" * 8192}}, {"metadata"}),
    ({"createdAt": "2026-01-31T09:30:00Z"}, {"createdAt"}),
    ({"updatedAt": None}, {"updatedAt"}),
    ({"id": "7"}, {"id"}),
    ({"id": UUID1}, {"id"}),
    ({"id": None}, {"id"}),
)


class CreationTests(RestTestCase):
    async def create(self, **fields: Any) -> ClientResponse:
        return await self.request("PUT", "/profiles", json=fields)

    async def test_defaults(self) -> None:
        response = await self.create()
        profile = response.json
        self.assertEqual(response.status, 201)
        self.assertEqual(UUID(profile["id"]).version, 4)
        self.assertEqual(response.headers["location"], f"{PUBLIC_URL}/profiles/{profile['id']}")
        self.assertEqual(profile["createdAt"], profile["updatedAt"])
        defaults: dict[str, Any] = {
            **dict.fromkeys(FULL),
            "numbers": [],
            "record": False,
            "recordFormat": "wav",
            "recordChannels": "mono",
            "recordBeepAtStart": True,
            "recordBeepInterval": 0,
            "recordPrompt": "none",
            "metadata": {},
        }
        self.assertEqual({key: profile[key] for key in FULL}, defaults)

    async def test_every_field(self) -> None:
        profile_id = str(uuid4())
        response = await self.create(id=profile_id, **FULL)
        self.assertEqual(response.status, 201, response.body)
        retrieved = await self.request("GET", f"/profiles/{profile_id}")
        self.assertEqual((retrieved.body, retrieved.etag), (response.body, response.etag))
        self.assertEqual({key: retrieved.json[key] for key in FULL}, FULL)

    async def test_optional_fields_may_be_null(self) -> None:
        optional = ("name", "email", "remoteSipUri", "recordPromptCustomId", "webhookUrl", "retentionDays")
        self.assertEqual((await self.create(**dict.fromkeys(optional))).status, 201)

    async def test_duplicate_id_conflicts(self) -> None:
        existing = await self.add_profile()
        response = await self.create(id=str(existing.id))
        self.assertEqual((response.status, response.json["code"], response.error_fields), (409, "conflict", ["id"]))

    async def test_number_of_another_profile_conflicts(self) -> None:
        await self.add_profile(numbers=("+4930123456",))
        response = await self.create(numbers=["+4930123457", "+4930123456"])
        self.assertEqual((response.status, response.error_fields), (409, ["numbers"]))
        self.assertEqual(len(await self.profiles.all()), 1)

    async def test_invalid_fields(self) -> None:
        for body, error_fields in INVALID:
            with subtest(body):
                response = await self.create(**body)
                self.assertEqual((response.status, set(response.error_fields)), (422, error_fields), response.body)
        self.assertEqual(await self.profiles.all(), [])

    async def test_all_invalid_fields_are_reported_at_once(self) -> None:
        body = {
            "colour": 1,
            "id": UUID1,
            "email": "no-address",
            "remoteSipUri": "sip:a@elsewhere.test",
            "recordFormat": "xyz",
            "recordBeepInterval": -1,
            "recordPrompt": "custom",
            "createdAt": 0,
            "webhookUrl": "no",
        }
        response = await self.create(**body)
        self.assertEqual(set(response.error_fields), {*body, "recordPromptCustomId"} - {"recordPrompt"})
        self.assertEqual(response.json["code"], "invalid")

    async def test_error_of_an_unknown_format_names_the_known_ones(self) -> None:
        response = await self.create(recordFormat="xyz")
        self.assertIn("wav, mp3", response.json["errors"][0]["message"])

    async def test_unknown_query_parameter(self) -> None:
        response = await self.request("PUT", "/profiles?dry=1", json={})
        self.assertEqual((response.status, response.error_fields), (422, ["dry"]))


class UpdateTests(RestTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.created = await self.request("PUT", "/profiles", json=FULL)
        self.path = f"/profiles/{self.created.json['id']}"

    async def update(self, headers: Any = None, /, **fields: Any) -> ClientResponse:
        return await self.request("POST", self.path, json=fields, headers=headers or {})

    async def test_only_the_given_fields_change(self) -> None:
        changes: dict[str, Any] = {
            "name": None,
            "recordBeepInterval": 3,
            "numbers": ["+4930123457"],
            "metadata": {},
        }
        for key, value in changes.items():
            with subtest(key):
                before = (await self.request("GET", self.path)).json
                response = await self.update(**{key: value})
                self.assertEqual(response.status, 200, response.body)
                after = response.json
                self.assertGreaterEqual(after.pop("updatedAt"), before.pop("updatedAt"))
                self.assertEqual(after, {**before, key: value})

    async def test_a_whole_representation_may_be_sent_back(self) -> None:
        response = await self.update(**{**self.created.json, "name": "other"})
        self.assertEqual((response.status, response.json["name"]), (200, "other"), response.body)

    async def test_read_only_fields(self) -> None:
        for key in ("id", "createdAt", "updatedAt"):
            with subtest(key):
                response = await self.update(**{key: str(uuid4())})
                self.assertEqual((response.status, response.error_fields), (422, [key]))

    async def test_invalid_fields(self) -> None:
        for body, error_fields in INVALID:
            if body != {"recordPrompt": "custom"}:  # valid here: the Profile has a recordPromptCustomId
                with subtest(body):
                    response = await self.update(**body)
                    self.assertEqual((response.status, set(response.error_fields)), (422, error_fields), response.body)
        self.assertEqual((await self.request("GET", self.path)).etag, self.created.etag)

    async def test_rules_over_several_fields_see_the_stored_ones(self) -> None:
        response = await self.update(recordPromptCustomId=None)
        self.assertEqual((response.status, response.error_fields), (422, ["recordPromptCustomId"]))
        self.assertEqual((await self.update(recordPromptCustomId=None, recordPrompt="none")).status, 200)

    async def test_stored_values_that_are_no_longer_allowed_do_not_prevent_other_changes(self) -> None:
        old = await self.add_profile(remote_sip_uri="sip:a@elsewhere.test", record_format="old")
        response = await self.request("POST", f"/profiles/{old.id}", json={"name": "x"})
        self.assertEqual(response.status, 200, response.body)

    async def test_number_of_another_profile_conflicts(self) -> None:
        await self.add_profile(numbers=("+4940",))
        response = await self.update(numbers=["+4940"])
        self.assertEqual((response.status, response.error_fields), (409, ["numbers"]))
        self.assertEqual((await self.request("GET", self.path)).etag, self.created.etag)

    async def test_if_match(self) -> None:
        first = self.created.etag
        response = await self.update({"If-Match": first}, name="one")
        self.assertEqual(response.status, 200)
        self.assertNotEqual(response.etag, first)
        stale = await self.update({"If-Match": first}, name="two")
        self.assertEqual((stale.status, stale.json["code"], stale.etag), (412, "precondition-failed", response.etag))
        for header in ("*", f'"x", {response.etag}'):
            with subtest(header):
                self.assertEqual((await self.update({"If-Match": header})).status, 200)
                response = await self.request("GET", self.path)
        for header in (f"W/{response.etag}", "rubbish", '""'):
            with subtest(header):
                self.assertEqual((await self.update({"If-Match": header}, name="x")).status, 412)
        self.assertEqual((await self.request("GET", self.path)).json["name"], "one")

    async def test_if_none_match(self) -> None:
        for header in (self.created.etag, f"W/{self.created.etag}", "*"):
            for method in ("GET", "HEAD"):
                with subtest((method, header)):
                    response = await self.request(method, self.path, headers={"If-None-Match": header})
                    self.assertEqual((response.status, response.body, response.etag), (304, b"", self.created.etag))
            with subtest(("POST", header)):
                self.assertEqual((await self.update({"If-None-Match": header}, name="x")).status, 412)
        self.assertEqual((await self.request("GET", self.path, headers={"If-None-Match": '"x"'})).status, 200)

    async def test_calls_know_the_profile_before_the_response(self) -> None:
        changed = await self.update(record=False)
        self.assertEqual([profile.record for profile in self.stored_profiles], [True, False])
        self.assertEqual(str(self.stored_profiles[-1].id), changed.json["id"])
        self.assertEqual((await self.update(record="?")).status, 422)
        self.assertEqual(len(self.stored_profiles), 2)

    async def test_delete(self) -> None:
        stale = await self.request("DELETE", self.path, headers={"If-Match": '"x"'})
        self.assertEqual(stale.status, 412)
        deleted = await self.request("DELETE", self.path, headers={"If-Match": self.created.etag})
        self.assertEqual((deleted.status, deleted.body), (204, b""))
        for method in ("GET", "DELETE"):
            self.assertEqual((await self.request(method, self.path)).status, 404)
        self.assertEqual((await self.update(name="x")).status, 404)

    async def test_filters(self) -> None:
        await self.add_profile(numbers=("+12",), email="c@example.org", remote_sip_uri="sip:other@pbx.example")
        for name, value in (
            ("number", "%2B4930123457"),
            ("email", "B@example.org"),
            ("remoteSipUri", "sip:desk@pbx.example:5061%3Btransport=tls"),
            ("search", "+3012345"),
        ):
            with subtest(name):
                response = await self.request("GET", f"/profiles?{name}={value}")
                self.assertEqual([item["id"] for item in response.json], [self.created.json["id"]])
        for stored, other in (
            ("m\u00fcller@b\u00fccher.example", "xn--bcher-kva"),
            ("c@xn--bcher-kva.example", "b\u00fccher"),
        ):
            local_part, _, domain = stored.partition("@")
            created = await self.add_profile(email=f"x@example.org, {stored}")
            for spelling in (domain, f"{other}.example"):
                with subtest(f"{stored} {spelling}"):
                    response = await self.request("GET", f"/profiles?email={quote(f'{local_part}@{spelling}')}")
                    self.assertEqual([item["email"] for item in response.json], [created.email])
        none = await self.request("GET", "/profiles?number=%2B99")
        self.assertEqual(json.loads(none.body), [])
        for search in ("", "+", "a%00", "x" * 256):
            refused = await self.request("GET", f"/profiles?search={search}")
            self.assertEqual((refused.status, refused.error_fields), (422, ["search"]))


class ProfileFormatTests(RestTestCase):
    async def test_one_channel_format_is_refused_for_two_channels(self) -> None:
        response = await self.request("PUT", "/profiles", json={"recordFormat": "gsm", "recordChannels": "dual"})
        self.assertEqual((response.status, sorted(response.error_fields)), (422, ["recordChannels", "recordFormat"]))
        created = await self.request("PUT", "/profiles", json={"recordFormat": "gsm"})
        self.assertEqual(created.status, 201)
        path = f"/profiles/{created.json['id']}"
        self.assertEqual((await self.request("POST", path, json={"recordChannels": "dual"})).status, 422)
        self.assertEqual(
            (await self.request("POST", path, json={"recordChannels": "dual", "recordFormat": "wav"})).status, 200
        )
