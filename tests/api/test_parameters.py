"""Tests of voxrec.api.parameters, and of the filters that no stored value can match."""

from typing import Final

from twisted.trial.unittest import SynchronousTestCase

from tests.api.rest_test_case import RestTestCase
from tests.subtest import subtest
from voxrec.api.parameters import mail_address, party, phone_number, sip_uri

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
    *(("email", value) for value in ("nonsense", "@x", "a@b,c@d", "a..b@example.org", "a@%C3%A4_.example", "")),
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
