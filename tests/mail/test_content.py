"""Tests of voxrec.mail.content. Most texts are tested in tests.mail.test_message."""

import re
from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from tests.mail.test_message import LINK, PROFILE, RECORDING
from voxrec.mail.content import ListeningLink, attachment_name, describe


class DescribeTests(SynchronousTestCase):
    def test_waveform_description(self) -> None:
        descriptions = [
            describe(replace(RECORDING, channels=channels), PROFILE, LINK, 1, True, UTC).waveform_description
            for channels in (1, 2)
        ]
        expected = "Waveform of the recording"
        self.assertEqual(descriptions, [expected, f"{expected}: the caller at the top, the other side at the bottom"])

    def test_sizes(self) -> None:
        for size, expected in (
            (999, "999 bytes"),
            (1000, "1.0 kB (1,000 bytes)"),
            (2_500_000, "2.5 MB (2,500,000 bytes)"),
        ):
            facts = dict(describe(RECORDING, PROFILE, LINK, size, True, UTC).facts)
            self.assertTrue(facts["File"].endswith(f".wav, {expected}"), facts["File"])

    def test_the_day_on_which_the_link_expires(self) -> None:
        link = ListeningLink("https://voxrec.example/l/1", datetime(2026, 11, 30, 23, 30, tzinfo=UTC))
        for attached in (True, False):
            content = describe(RECORDING, PROFILE, link, 1, attached, timezone(timedelta(hours=1)))
            self.assertIn(" listen to it here until 1 December 2026:", f" {content.introduction}")
            self.assertEqual(content.url, link.url)

    def test_long_names_are_shortened_in_the_subject_only(self) -> None:
        content = describe(replace(RECORDING, from_name="x" * 200), PROFILE, LINK, 1, True, UTC)
        self.assertIn("x" * 79 + "\u2026 called", content.subject)
        self.assertEqual(dict(content.facts)["Caller"], "x" * 200 + " (+49123)")


class AttachmentNameTests(SynchronousTestCase):
    @given(st.text(st.characters()), st.text(st.characters()), st.text(st.characters(), min_size=1, max_size=12))
    def test_name_is_valid_on_every_file_system(self, number: str, called: str, format_: str) -> None:
        name = attachment_name(replace(RECORDING, from_=number, to=called, format=format_))
        self.assertTrue(re.fullmatch(r"2026-11-23T19-31-00Z_[A-Za-z0-9+_-]+\.[A-Za-z0-9+_-]+", name), name)
        self.assertLessEqual(len(name), 200)

    def test_name_without_numbers(self) -> None:
        self.assertEqual(
            attachment_name(replace(RECORDING, from_=None, to="../../etc/passwd")),
            "2026-11-23T19-31-00Z_unknown_to_etc_passwd.wav",
        )
