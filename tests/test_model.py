"""Tests of voxrec.model: the constraints that the types cannot express, and small helpers."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.calls.double import profile
from voxrec.model import Profile, RecordPrompt, Role, Side, Token, leg_name, mail_addresses

NAMES = {field.encode_name: field.name for field in msgspec.structs.fields(Profile)}
ANYTHING = st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text(), max_size=3)


class ProfileFieldErrorsTests(SynchronousTestCase):
    ROWS: tuple[tuple[dict[str, Any], str], ...] = (
        ({"email": "nobody"}, "email: invalid email address 'nobody'"),
        ({"email": "a@b.c,"}, "email: invalid email address ''"),
        ({"email": "a@b.c\r\nBcc: x@y.z"}, "email: invalid email address 'a@b.c\\r\\nBcc: x@y.z'"),
        ({"remote_sip_uri": "sip:a&b@c"}, "remoteSipUri: invalid SIP URI 'sip:a&b@c': it must not contain '&'"),
        ({"numbers": ("+4930", "+4930")}, "numbers: duplicate number +4930"),
        ({"record_prompt": RecordPrompt.CUSTOM}, "recordPromptCustomId: required if recordPrompt is custom"),
        ({"webhook_url": "ftp://x"}, "webhookUrl: invalid URL 'ftp://x'"),
        ({"record_resume_code": "*1"}, "recordResumeCode: requires recordPauseCode"),
        (
            {"max_duration_seconds": 5, "min_duration_seconds": 6},
            "minDurationSeconds: is greater than maxDurationSeconds, which is 5",
        ),
        ({"metadata": {"a": "x" * 8192}}, "metadata: is 8200 bytes as JSON; at most 8192 are allowed"),
    )

    def test_each_constraint(self) -> None:
        for fields, expected in self.ROWS:
            with self.subTest(expected):
                (error,) = profile(**fields).field_errors()
                self.assertIn(expected, str(error))

    def test_a_valid_profile_has_no_errors(self) -> None:
        self.assertEqual(profile(email="a@b.example, c.d+e@f.example", numbers=("+4930", "+4931")).field_errors(), [])

    def test_mail_addresses(self) -> None:
        self.assertEqual(mail_addresses(" a@b.example ,c@d.example"), ("a@b.example", "c@d.example"))
        self.assertEqual(mail_addresses(None), ())


class LegNameTests(SynchronousTestCase):
    def test_it_contains_the_recording_and_the_party(self) -> None:
        recording = UUID("10000000-0000-4000-8000-000000000001")
        self.assertEqual(leg_name(recording, Side.CALLEE), f"voxrec-{recording}-callee")


class RoleTests(SynchronousTestCase):
    def test_each_role_includes_itself_and_those_before(self) -> None:
        included = {role: [other for other in Role if role.includes(other)] for role in Role}
        self.assertEqual(
            included,
            {
                Role.READ: [Role.READ],
                Role.PROVISION: [Role.READ, Role.PROVISION],
                Role.ADMIN: [Role.READ, Role.PROVISION, Role.ADMIN],
            },
        )


class TokenFieldErrorsTests(SynchronousTestCase):
    NOW = datetime(2026, 1, 1, tzinfo=UTC)

    def errors(self, **fields: Any) -> list[str]:
        return [
            str(error)
            for error in Token(
                **{"id": UUID(int=1), "name": "crm", "role": Role.READ, "created_at": self.NOW, **fields}
            ).field_errors()
        ]

    def test_expiry(self) -> None:
        self.assertEqual(self.errors(expires_at=self.NOW + timedelta(days=1)), [])
        self.assertEqual(self.errors(expires_at=self.NOW), ["expiresAt: is not in the future"])
        self.assertEqual(self.errors(expires_at=datetime(2027, 1, 1)), ["expiresAt: has no UTC offset, such as Z"])

    def test_profile_ids(self) -> None:
        profile_id = UUID(int=7)
        self.assertEqual(self.errors(profile_ids=(profile_id,)), [])
        self.assertEqual(self.errors(profile_ids=(profile_id,) * 2), [f"profileIds: duplicate id {profile_id}"])
        self.assertIn(
            "profileIds: not allowed for the role admin", self.errors(role=Role.ADMIN, profile_ids=(profile_id,))[0]
        )
