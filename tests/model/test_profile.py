"""Tests of voxrec.model.profile: the constraints that the types cannot express."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.calls.fake_asterisk import make_profile
from voxrec.model import RecordPrompt, mail_addresses


class ProfileFieldErrorsTests(SynchronousTestCase):
    ROWS: tuple[tuple[dict[str, Any], str], ...] = (
        ({"email": "nobody"}, "email: invalid email address 'nobody': it has no @; expected one"),
        ({"email": "a@b.c,"}, "email: invalid email address ''"),
        ({"email": "a@b.c\r\nBcc: x@y.z"}, "email: invalid email address 'a@b.c\\r\\nBcc: x@y.z'"),
        ({"remote_sip_uri": "sip:a&b@c"}, "remoteSipUri: invalid SIP URI 'sip:a&b@c': it must not contain '&'"),
        ({"numbers": ("+4930", "+4930")}, "numbers: duplicate number +4930"),
        ({"numbers": ("+4930",) * 1001}, "numbers: has 1001 numbers; at most 1000 are allowed"),
        ({"record_prompt": RecordPrompt.CUSTOM}, "recordPromptCustomId: required if recordPrompt is custom"),
        ({"webhook_url": "ftp://x"}, "webhookUrl: invalid URL 'ftp://x'"),
        ({"time_zone": "Europe/Nowhere"}, "timeZone: unknown time zone 'Europe/Nowhere'"),
        ({"time_zone": "../../etc/passwd"}, "timeZone: unknown time zone '../../etc/passwd'"),
        ({"time_zone": "Europe"}, "timeZone: unknown time zone 'Europe'"),
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
                (error,) = make_profile(**fields).field_errors()
                self.assertIn(expected, str(error))

    def test_a_valid_profile_has_no_errors(self) -> None:
        self.assertEqual(
            make_profile(email="a@b.example, c.d+e@f.example", numbers=("+4930", "+4931")).field_errors(), []
        )

    def test_mail_addresses(self) -> None:
        self.assertEqual(mail_addresses(" a@b.example ,c@d.example"), ("a@b.example", "c@d.example"))
        self.assertEqual(mail_addresses(None), ())
