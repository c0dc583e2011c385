"""Tests of voxrec.api.parameters, and of the filters that no stored value can match."""

from typing import Final

from twisted.trial.unittest import SynchronousTestCase

from tests.api.rest_test_case import RestTestCase
from tests.subtest import subtest
from voxrec.api.parameters import mail_address, party, phone_number, sip_uri
from voxrec.error_codes import FieldErrorCode
from voxrec.errors import InvalidValue

# with the plus as a client sends it that does not percent-encode it
UNENCODED: Final = (
    ("/profiles", "number", "+4930123456"),
    ("/profiles", "email", "desk+calls@example.org"),
    ("/profiles", "remoteSipUri", "sip:+4930123456@pbx.example"),
    ("/recordings", "from", "+4930123456"),
    ("/recordings", "to", "+4930123456"),
    ("/recordings", "since", "2026-01-31T09:30:00+01:00"),
    ("/recordings", "until", "2026-01-31T09:30:00+01:00"),
    ("/audit", "since", "2026-01-31T09:30:00+01:00"),
    ("/audit", "until", "2026-01-31T09:30:00+01:00"),
)
NEVER_MATCHING: Final = (
    *(("number", value) for value in ("nonsense", "4930123456", "%2B", "%2B0", "%2B1234567890123456", "%2B49%0A", "")),
    *(
        ("email", value)
        for value in ("nonsense", "@x", "a@b.example,", "a@b.example,c", "a..b@example.org", "a@%C3%A4_.example", "")
    ),
    *(("remoteSipUri", value) for value in ("nonsense", "tel:%2B4930", "sip:", "sip:a%00@b", "sip:a%0A@b", "")),
)


class FilterTests(RestTestCase):
    async def test_unencoded_plus(self) -> None:
        for path, name, value in UNENCODED:
            with subtest((path, name)):
                response = await self.request("GET", f"{path}?{name}={value}")
                self.assertEqual((response.status, response.error_fields), (422, [name]), response.body)
                self.assertIn("%2B", response.json["errors"][0]["message"])
                encoded = await self.request("GET", f"{path}?{name}={value.replace('+', '%2B')}")
                self.assertEqual(encoded.status, 200, encoded.body)

    async def test_values_that_match_nothing(self) -> None:
        for name, value in NEVER_MATCHING:
            with subtest((name, value)):
                response = await self.request("GET", f"/profiles?{name}={value}")
                self.assertEqual((response.status, response.error_fields), (422, [name]), response.body)

    async def test_uri_of_an_earlier_version_is_found(self) -> None:
        profile = await self.add_profile(remote_sip_uri="sip:a@b.example;maddr=192.0.2.1")
        found = await self.request("GET", "/profiles?remoteSipUri=sip:a@b.example%3Bmaddr=192.0.2.1")
        self.assertEqual([item["id"] for item in found.json], [str(profile.id)])

    async def test_recordings_of_callers_without_number(self) -> None:
        for caller in ("alice", "anonymous", "4930", "0 30", "*21#", "+49 30"):
            recording = await self.add_recording(from_=caller)
            with subtest(caller):
                encoded = caller.replace("+", "%2B").replace(" ", "%20").replace("#", "%23")
                found = await self.request("GET", f"/recordings?from={encoded}")
                self.assertEqual([item["id"] for item in found.json], [str(recording.id)], found.body)


class MailAddressTests(RestTestCase):
    async def test_several_addresses(self) -> None:
        profiles = [await self.add_profile(email=email) for email in ("a@x.example", "b@x.example, c@x.example", None)]
        for addresses, found in (
            ("A@X.example", {0}),
            ("c@x.example", {1}),
            ("a@x.example,c@x.example", {0, 1}),
            ("b@x.example,c@x.example,d@x.example", {1}),
            ("d@x.example", set()),
        ):
            with subtest(addresses):
                response = await self.request("GET", f"/profiles?email={addresses}")
                expected = {str(profiles[index].id) for index in found}
                self.assertEqual({profile["id"] for profile in response.json}, expected)

    async def test_too_many(self) -> None:
        addresses = [f"a{index}@x.example" for index in range(51)]
        self.assertEqual((await self.request("GET", f"/profiles?email={','.join(addresses[:50])}")).status, 200)
        response = await self.request("GET", f"/profiles?email={','.join(addresses)}")
        (error,) = response.json["errors"]
        self.assertEqual((error["code"], error["params"]), ("too-many", {"maximum": 50}))


class CodeTests(RestTestCase):
    """What a client learns about a value that is refused."""

    HOSTILE: Final = (
        *("", " ", "\t\n", "\0", "a\0", ",", ",,", "-1", "-0", "0", "1e999", "NaN", "9" * 300, "9" * 5000, "x" * 300),
        *("x" * 3000, "é", "\u0664\u0662", "\U0001f4de", "\u202e", "null", "{}", "[]", "'", '"', "%00", "a,b"),
    )

    async def test_no_value_has_an_unspecific_error(self) -> None:
        """Every parameter of every route refuses a value with a code of its own, or accepts it."""
        count = 0
        for route in self.app.routes:
            for name, parameter in (route.query or {}).items():
                for value in self.HOSTILE:
                    with subtest((route.path, name, value[:20])):
                        count += 1
                        try:
                            parameter.parse(value)
                        except InvalidValue as error:
                            self.assertNotEqual(error.code, FieldErrorCode.INVALID)
                            self.assertTrue(str(error))
        self.assertGreater(count, 1000)

    async def test_codes(self) -> None:
        for path, name, value, code in (
            ("/profiles", "search", "", "too-short"),
            ("/profiles", "search", "%20", "blank"),
            ("/profiles", "search", "x" * 256, "too-long"),
            ("/profiles", "search", "x%00", "nul-character"),
            ("/profiles", "remoteSipUri", "sip:" + "x" * 3000, "too-long"),
            ("/profiles", "limit", "", "number-range"),
            ("/profiles", "limit", "-1", "number-range"),
            ("/profiles", "limit", "9" * 5000, "number-range"),
            ("/profiles", "limit", "%D9%A4", "number-range"),  # a digit, but not an ASCII one
            ("/recordings", "search", "", "too-short"),
            ("/recordings", "search", "-", "no-word"),
            ("/recordings", "search", "a%00", "nul-character"),
            ("/recordings", "from", "", "too-short"),
            ("/recordings", "node", "x" * 256, "too-long"),
            ("/recordings", "tag", ",".join(["x" * 60] * 20), "too-long"),
            ("/recordings", "since", "2026-01-31T09:30:00", "no-utc-offset"),
            ("/recordings", "id", "", "not-a-uuid"),
            ("/audit", "who", "", "too-short"),
        ):
            with subtest((path, name, value[:20])):
                response = await self.request("GET", f"{path}?{name}={value}")
                self.assertEqual(response.status, 422, response.body)
                (error,) = response.json["errors"]
                self.assertEqual((error["field"], error["code"]), (name, code))

    async def test_invalid_tag_is_named(self) -> None:
        response = await self.request("GET", "/recordings?tag=VIP,%20x,ok")
        self.assertEqual(response.json["errors"][0]["params"], {"value": " x"})

    async def test_blank_reason_of_a_deletion(self) -> None:
        recording = await self.add_recording()
        response = await self.request("DELETE", f"/recordings/{recording.id}?reason=%20")
        self.assertEqual((response.status, response.error_fields), (422, ["reason"]))


class SchemaTests(SynchronousTestCase):
    def test_schemas_agree_with_the_parsers(self) -> None:
        for parameter, valid, invalid in (
            (phone_number, "+4930123456", "4930123456"),
            (sip_uri, "SIPS:a@b.example", "sip:a b@c.example"),
            (party, "alice", " 4930"),
        ):
            with subtest(valid):
                self.assertEqual(parameter.parse(valid), valid)
                self.assertRaises(ValueError, parameter.parse, invalid)
                self.assertRegex(valid, parameter.schema["pattern"])
                self.assertNotRegex(invalid, parameter.schema["pattern"])

    def test_mail_address(self) -> None:
        """No pattern can express which international domains are valid (IDNA 2008)."""
        for address in ("desk+calls@example.org", "ann@b\u00fccher.example", "m\u00fcller@example.org"):
            self.assertEqual(mail_address.parse(address), address)
        for address in ("desk calls@example.org", "ann@b\u00fc_cher.example"):
            self.assertRaises(ValueError, mail_address.parse, address)
        self.assertEqual(mail_address.schema["format"], "mail-address")
