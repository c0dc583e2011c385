"""What a Profile's types alone cannot say, and what untrusted fields become."""

from typing import Any
from uuid import UUID

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.calls.double import profile
from voxrec.conversion import fit
from voxrec.model import Profile, RecordPrompt, Side, addresses, leg_name

NAMES = {field.encode_name: field.name for field in msgspec.structs.fields(Profile)}
ANYTHING = st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text(), max_size=3)


class ProfileFaultTests(SynchronousTestCase):
    ROWS: tuple[tuple[dict[str, Any], str], ...] = (
        ({"email": "nobody"}, "email: 'nobody' is not a mail address"),
        ({"email": "a@b.c,"}, "email: '' is not a mail address"),
        ({"email": "a@b.c\r\nBcc: x@y.z"}, "email: 'a@b.c\\r\\nBcc: x@y.z' is not a mail address"),
        ({"remote_sip_uri": "sip:a&b@c"}, "remoteSipUri: 'sip:a&b@c' is not a SIP URI: it must not contain '&'"),
        ({"numbers": ("+4930", "+4930")}, "numbers: +4930 stands in the list more than once"),
        ({"record_prompt": RecordPrompt.CUSTOM}, "recordPromptCustomId: is required"),
        ({"webhook_url": "ftp://x"}, "webhookUrl: 'ftp://x' is not a URL"),
        ({"metadata": {"a": "x" * 8192}}, "metadata: is 8200 bytes as JSON; at most 8192 are allowed"),
    )

    def test_rows(self) -> None:
        for fields, expected in self.ROWS:
            with self.subTest(expected):
                (fault,) = profile(**fields).field_errors()
                self.assertIn(expected, str(fault))

    def test_a_sound_one_has_none(self) -> None:
        self.assertEqual(profile(email="a@b.example, c.d+e@f.example", numbers=("+4930", "+4931")).field_errors(), [])

    def test_addresses(self) -> None:
        self.assertEqual(addresses(" a@b.example ,c@d.example"), ("a@b.example", "c@d.example"))
        self.assertEqual(addresses(None), ())


class FitTests(SynchronousTestCase):
    def test_every_fault_is_told(self) -> None:
        values, field_errors = fit(
            Profile,
            {
                "email": "x" * 256,
                "recordFormat": "x" * 13,
                "recordBeepInterval": -1,
                "recordChannels": "stereo",
                "record": "yes",
                "numbers": ["+4930", "030"],
                "colour": "red",
                "createdAt": "2026-01-01T00:00:00Z",
                "name": "fine",
            },
            refuse=frozenset({"createdAt"}),
        )
        self.assertEqual(values, {"name": "fine"})
        told = {fault.field: fault.message for fault in field_errors}
        self.assertIn("Expected str of length <= 255", told["email"])
        self.assertIn("Expected str of length <= 12", told["recordFormat"])
        self.assertIn("Expected int >= 0", told["recordBeepInterval"])
        self.assertIn("allowed: mono, dual", told["recordChannels"])
        self.assertIn("Expected bool, got str", told["record"])
        self.assertIn("[1]", told["numbers"])
        self.assertIn("is not known; known here: email,", told["colour"])
        self.assertIn("is set by voxrec", told["createdAt"])

    @given(st.dictionaries(st.sampled_from(sorted(NAMES)), ANYTHING))
    def test_a_field_either_fits_or_is_told(self, given_: dict[str, object]) -> None:
        values, field_errors = fit(Profile, given_)
        self.assertEqual(
            sorted([*values, *(NAMES[fault.field] for fault in field_errors)]), sorted(NAMES[n] for n in given_)
        )


class LegNameTests(SynchronousTestCase):
    def test_it_tells_whose_it_is(self) -> None:
        recording = UUID("10000000-0000-4000-8000-000000000001")
        self.assertEqual(leg_name(recording, Side.CALLEE), f"voxrec-{recording}-callee")
