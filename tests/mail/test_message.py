"""Tests of voxrec.mail.message, by parsing the message as a mail program does."""

import email
import email.policy
import re
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from voxrec.mail.content import ListeningLink
from voxrec.mail.message import MessageDefaults, compose
from voxrec.model import Profile, Recording, RecordingState, Verdict

STARTED_AT = datetime(2026, 11, 23, 19, 31, tzinfo=UTC)
NOW = datetime(2026, 11, 23, 19, 34, 5, tzinfo=UTC)
AUDIO = b"RIFF....WAVE" + bytes(range(256)) * 40 + b"\n.\r\n..\r\n"
DIGEST = sha256(AUDIO).hexdigest()
URL = "https://voxrec.example.org/recordings/1?a=b&c=d"
LINK = ListeningLink(URL)
RECORDING = Recording(
    id=UUID("6f0c3f2e-95f5-4c2a-9d3c-0a6c8e3f7b11"),
    profile_id=UUID(int=7),
    call_id=UUID(int=9),
    state=RecordingState.COMPLETED,
    started_at=STARTED_AT,
    ended_at=STARTED_AT + timedelta(seconds=125.4),
    duration=125.4,
    size=len(AUDIO),
    sha256=DIGEST,
    from_="+49123",
    from_name="Erna M\u00fcller",
    to="+49555",
    remote_sip_uri="sip:desk@pbx.example.org",
    path="2026/11/23/x.wav",
    created_at=STARTED_AT,
    updated_at=STARTED_AT,
)
PROFILE = Profile(
    id=UUID(int=7),
    name="Front <desk>",
    email="ann@example.org, bob@example.org",
    created_at=STARTED_AT,
    updated_at=STARTED_AT,
)
DEFAULTS = MessageDefaults("voxrec@example.org", 1_000_000)


class ParsedHTML(HTMLParser):
    """The texts of a page, and its tags with their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


class MessageTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.audio = Path(self.mktemp())
        self.audio.write_bytes(AUDIO)

    def compose(self, defaults: MessageDefaults = DEFAULTS, **changes: Any) -> bytes:
        return compose(replace(RECORDING, **changes), PROFILE, self.audio, LINK, defaults, NOW)

    def message(self, defaults: MessageDefaults = DEFAULTS, **changes: Any) -> EmailMessage:
        return parse(self.compose(defaults, **changes))


def parse(data: bytes) -> EmailMessage:
    message = email.message_from_bytes(data, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


def body(message: EmailMessage, subtype: str) -> str:
    part = message.get_body((subtype,))
    assert part is not None
    return str(part.get_content()).replace("\r\n", "\n")


class HeaderTests(MessageTestCase):
    def test_all_headers(self) -> None:
        self.assertEqual(
            [(name, str(value)) for name, value in self.message().items() if name != "Content-Type"],
            [
                ("Subject", "Erna M\u00fcller (+49123) called +49555, 23 Nov 2026 19:31, 2 min 5 s"),
                ("From", "voxrec <voxrec@example.org>"),
                ("To", "ann@example.org, bob@example.org"),
                ("Date", "Mon, 23 Nov 2026 19:34:05 +0000"),
                ("Message-ID", "<6f0c3f2e-95f5-4c2a-9d3c-0a6c8e3f7b11@example.org>"),
                ("Auto-Submitted", "auto-generated"),
                ("X-Voxrec-Recording", "6f0c3f2e-95f5-4c2a-9d3c-0a6c8e3f7b11"),
                ("X-Voxrec-Call", "00000000-0000-0000-0000-000000000009"),
                ("X-Voxrec-Profile", "00000000-0000-0000-0000-000000000007"),
                ("MIME-Version", "1.0"),
            ],
        )

    def test_repeated_message_is_identical(self) -> None:
        self.assertEqual(self.compose(), self.compose())

    def test_recording_without_call(self) -> None:
        self.assertNotIn("X-Voxrec-Call", self.message(call_id=None))

    @settings(max_examples=300, deadline=None)
    @given(
        st.text(st.characters(), max_size=255),
        st.text(st.characters(), max_size=255),
        st.text(st.characters(), max_size=255),
    )
    def test_names_and_numbers_do_not_inject_headers(self, name: str, number: str, called: str) -> None:
        self.audio = Path(__file__)
        data = self.compose(MessageDefaults("voxrec@example.org", 0), from_name=name, from_=number, to=called)
        self.assert_valid_smtp_data(data)
        self.assertEqual(parse(data).keys(), self.message(MessageDefaults("voxrec@example.org", 0)).keys())

    def test_hostile_names(self) -> None:
        for name in (
            "Eve\r\nBcc: all@example.org",
            "Eve\nBcc: all@example.org\n\nbody",
            '"Eve" <eve@example.org>, ',
            "=?utf-8?q?Bcc=3A?=",
            "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16") * 120,
            "x" * 255,
            "\u00fc" * 255,
            "\0\x1b[2J\u202eevE\ud800",
            "a " * 127,
        ):
            data = self.compose(from_name=name)
            self.assert_valid_smtp_data(data)
            message = parse(data)
            self.assertEqual(message.keys(), self.message().keys())
            self.assertEqual(message["To"], "ann@example.org, bob@example.org")
            self.assertEqual(len(list(message.iter_parts())), 2)

    def assert_valid_smtp_data(self, data: bytes) -> None:
        self.assertTrue(data.isascii())
        lines = data.split(b"\r\n")
        self.assertFalse([line for line in lines if b"\r" in line or b"\n" in line or b"\0" in line])
        self.assertLessEqual(max(map(len, lines)), 998)
        self.assertFalse([line for line in lines[: lines.index(b"")] if not line.strip() or line.endswith(b":")])

    def test_non_ascii_name(self) -> None:
        subject = str(self.message(from_name="\u00c5sa \u00d6berg, Dr. \u201cX\u201d")["Subject"])
        self.assertTrue(subject.startswith("\u00c5sa \u00d6berg, Dr. \u201cX\u201d (+49123) called"), subject)

    def test_caller_without_number_or_name(self) -> None:
        self.assertTrue(str(self.message(from_=None)["Subject"]).startswith("Erna M\u00fcller called"))
        subject = str(self.message(from_=None, from_name="")["Subject"])
        self.assertTrue(subject.startswith("Caller with withheld number called"), subject)
        self.assertTrue(str(self.message(from_name="+49123")["Subject"]).startswith("+49123 called"))


class BodyTests(MessageTestCase):
    def test_plain_text(self) -> None:
        self.assertEqual(
            body(self.message(), "plain"),
            "Erna M\u00fcller (+49123) called +49555\n"
            "23 November 2026, 19:31, 2 min 5 s\n\n"
            "Caller:        Erna M\u00fcller (+49123)\n"
            "Called number: +49555\n"
            "Connected to:  sip:desk@pbx.example.org\n"
            "Profile:       Front <desk>\n"
            "Started:       23 November 2026, 19:31:00 UTC\n"
            "Duration:      2 min 5 s\n"
            f"File:          2026-11-23T19-31-00Z_+49123_to_+49555.wav, 10.3 kB ({len(AUDIO):,} bytes)\n"
            f"SHA-256:       {DIGEST}\n\n"
            f"The recording is attached. You can also listen to it here:\n{URL}\n",
        )

    def test_html_has_the_same_content(self) -> None:
        page = ParsedHTML(body(self.message(), "html"))
        page_text = re.sub(r"\s+", " ", " ".join(page.texts))
        for line in body(self.message(), "plain").splitlines():
            for part in re.split(r":  +|: ", line):
                self.assertIn(part, page_text)
        self.assertIn(("href", URL), [item for tag, attrs in page.tags for item in attrs.items() if tag == "a"])

    def test_html_has_no_external_or_active_content(self) -> None:
        page = ParsedHTML(body(self.message(from_name="<img src=x onerror=alert(1)>", to='"><script>'), "html"))
        self.assertEqual(
            {tag for tag, _ in page.tags},
            {"html", "head", "meta", "title", "body", "div", "h1", "p", "table", "tr", "td", "a"},
        )
        names = {name for _, attrs in page.tags for name in attrs}
        self.assertEqual(names, {"lang", "charset", "name", "content", "style", "role", "href"})
        self.assertNotIn("url(", body(self.message(), "html"))
        self.assertIn("<img src=x onerror=alert(1)>", " ".join(page.texts))

    def test_warning_of_a_verdict_that_is_not_ok(self) -> None:
        message = self.message(verdict=Verdict(ok=False, reasons=("callee-silent", "<cut>")))
        warning = "There may be a problem with this recording: callee-silent; <cut>."
        self.assertIn(f"\n\n{warning}\n\n", body(message, "plain"))
        self.assertIn(warning, ParsedHTML(body(message, "html")).texts)

    def test_no_warning_of_a_verdict_that_is_ok(self) -> None:
        self.assertEqual(
            body(self.message(verdict=Verdict(ok=True)), "plain"), body(self.message(verdict=None), "plain")
        )

    def test_time_zone(self) -> None:
        message = self.message(MessageDefaults("voxrec@example.org", 0, ZoneInfo("Pacific/Auckland")))
        self.assertIn("24 November 2026, 08:31:00 (+13:00), which is 19:31:00 UTC", body(message, "plain"))
        self.assertIn("24 Nov 2026 08:31", str(message["Subject"]))

    def test_missing_values(self) -> None:
        message = self.message(
            started_at=None, duration=None, sha256=None, to=None, remote_sip_uri=None, from_=None, from_name=None
        )
        self.assertIn("called unknown number", str(message["Subject"]))
        self.assertIn("Duration:      unknown duration", body(message, "plain"))

    def test_durations(self) -> None:
        for seconds, expected in ((0.2, "0 s"), (59.6, "1 min 0 s"), (3600, "1 h 0 min 0 s"), (7325, "2 h 2 min 5 s")):
            self.assertIn(f"Duration:      {expected}\n", body(self.message(duration=seconds), "plain"))


class AttachmentTests(MessageTestCase):
    def test_attachment_is_identical(self) -> None:
        (attached,) = self.message().iter_attachments()
        self.assertEqual(attached.get_content(), AUDIO)
        self.assertEqual(attached.get_content_type(), "audio/wav")
        self.assertEqual(attached.get_filename(), "2026-11-23T19-31-00Z_+49123_to_+49555.wav")

    def test_files_of_different_sizes(self) -> None:
        block = 57 * 1024
        for size in (0, 1, 56, 57, 58, block - 1, block, block + 1, 3 * block + 29):
            content = (AUDIO * (size // len(AUDIO) + 1))[:size]
            self.audio.write_bytes(content)
            data = self.compose()
            (attached,) = parse(data).iter_attachments()
            self.assertEqual(attached.get_content(), content)
            self.assertTrue(data.endswith(b"--\r\n"))
            self.assertLessEqual(max(map(len, data.split(b"\r\n"))), 78)

    def test_attach_limit(self) -> None:
        size = len(AUDIO)
        self.assertEqual(len(list(self.message(MessageDefaults("voxrec@example.org", size)).iter_attachments())), 1)
        message = self.message(MessageDefaults("voxrec@example.org", size - 1))
        self.assertEqual(message.get_content_type(), "multipart/alternative")
        for subtype in ("plain", "html"):
            self.assertIn(f"too large to attach: 10.3 kB ({size:,} bytes).", body(message, subtype))

    def test_unknown_format(self) -> None:
        (attached,) = self.message(format="g729").iter_attachments()
        self.assertEqual(attached.get_content_type(), "application/octet-stream")
        self.assertEqual(attached.get_content(), AUDIO)

    def test_missing_file(self) -> None:
        self.audio.unlink()
        self.assertRaises(FileNotFoundError, self.compose)

    def test_encoded_words_in_names_do_not_inject_headers(self) -> None:
        for name in (
            "=?utf-8?q?=0d=0aBcc:_eve@example.org?=",
            "=?utf-8?b?DQpCY2M6IGV2ZUBleGFtcGxlLm9yZw==?=",
            "==??q?=?",
        ):
            data = self.compose(from_name=name)
            head = data.partition(b"\r\n\r\n")[0]
            self.assertNotIn(b"\nBcc", head)
            message = self.message(from_name=name)
            self.assertEqual(message["Bcc"], None)
            self.assertTrue(message["Subject"].startswith(name.replace("=?", "= ?")), message["Subject"])
