"""Tests of voxrec.mail.content. Most texts are tested in tests.mail.test_message."""

import re
from datetime import UTC, datetime, timedelta, timezone
from string import Formatter
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from tests.mail.test_message import LINK, PROFILE, RECORDING
from voxrec.mail.content import LANGUAGES, Content, ListeningLink, attachment_name, describe
from voxrec.mail.message import MessageDefaults
from voxrec.mail.rendering import render_html
from voxrec.model import Verdict


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
        """The number remains: it says more than the end of a name."""
        content = describe(replace(RECORDING, from_name="x" * 200), PROFILE, LINK, 1, True, UTC)
        self.assertTrue(content.subject.startswith("x" * 70 + "\u2026 (+49123) called"), content.subject)
        self.assertEqual(dict(content.facts)["Caller"], "x" * 200 + " (+49123)")

    def test_a_number_that_is_too_long_for_the_subject(self) -> None:
        content = describe(replace(RECORDING, from_="1" * 200, from_name="Erna"), PROFILE, LINK, 1, True, UTC)
        self.assertTrue(content.subject.startswith("1" * 79 + "\u2026 called"), content.subject)
        self.assertEqual(dict(content.facts)["Caller"], f"Erna ({'1' * 200})")

    def test_a_withheld_number(self) -> None:
        for code, title, caller in (
            ("en", "Caller with withheld number called +49555", ("Caller", "number withheld")),
            (
                "de",
                "Anrufer mit unterdr\u00fcckter Nummer hat +49555 angerufen",
                ("Anrufer", "Nummer unterdr\u00fcckt"),
            ),
        ):
            language = LANGUAGES.available[code]
            content = describe(replace(RECORDING, from_=None, from_name=None), PROFILE, LINK, 1, True, UTC, language)
            self.assertEqual((content.title, content.facts[0]), (title, caller))

    def test_the_summary_has_the_time_of_the_reader(self) -> None:
        time_zone = timezone(timedelta(hours=1))
        for code, summary in (
            ("en", "23 November 2026, 20:31, 2 min 5 s"),
            ("de", "23. November 2026, 20:31 Uhr, 2 min 5 s"),
        ):
            language = LANGUAGES.available[code]
            self.assertEqual(describe(RECORDING, PROFILE, LINK, 1, True, time_zone, language).summary, summary)


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


class LanguageTests(SynchronousTestCase):
    def describe(self, language: str = "de", **changes: Any) -> Content:
        recording = replace(RECORDING, **changes)
        zone = ZoneInfo("Europe/Berlin")
        return describe(recording, PROFILE, LINK, 12_345, True, zone, LANGUAGES.available[language])

    def test_german(self) -> None:
        content = self.describe(verdict=Verdict(ok=False, reasons=("truncated",)))
        self.assertEqual(content.title, "Erna M\u00fcller (+49123) hat +49555 angerufen")
        self.assertEqual(content.subject, f"{content.title}, 23.11.2026 20:31, 2 min 5 s")
        facts = dict(content.facts)
        self.assertEqual(facts["Beginn"], "23. November 2026, 20:31:00 (+01:00), das ist 19:31:00 UTC")
        self.assertIn("12,3 kB (12.345 Bytes)", facts["Datei"])
        self.assertIn("ein Teil des Anrufs fehlt", content.warning)
        self.assertIn("angeh\u00e4ngt", content.introduction)
        self.assertIn('<html lang="de">', render_html(content))
        self.assertIn(">Anh\u00f6ren</a>", render_html(content))

    def test_name_of_the_profile_instead_of_its_id(self) -> None:
        for to in (str(PROFILE.id), str(PROFILE.id).upper()):
            content = self.describe("en", to=to)
            self.assertEqual(content.title, "Erna M\u00fcller (+49123) called Front <desk>")
            self.assertNotIn(str(PROFILE.id), content.subject.lower())
        self.assertIn("+49555", self.describe("en").subject)

    def test_languages_have_the_same_texts(self) -> None:
        english, german = (LANGUAGES.available[code].texts for code in ("en", "de"))
        self.assertEqual(set(english), set(german))
        for key in set(english) - {"months"}:
            fields = [{name for _, name, _, _ in Formatter().parse(texts[key]) if name} for texts in (english, german)]
            if key != "short_date":
                self.assertEqual(fields[0], fields[1], key)

    def test_choice(self) -> None:
        defaults = MessageDefaults("voxrec@example.org", 1, language="en")
        for language, code in ((None, "en"), ("de", "de"), ("de_AT", "de"), ("DE-ch", "de"), ("fr", "en")):
            self.assertEqual(defaults.language_of(replace(PROFILE, language=language)).code, code, language)
        for name, zone in ((None, "UTC"), ("Asia/Tokyo", "Asia/Tokyo"), ("no such zone", "UTC")):
            self.assertEqual(str(defaults.time_zone_of(replace(PROFILE, time_zone=name))), zone)
