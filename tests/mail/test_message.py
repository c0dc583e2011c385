"""Tests of voxrec.mail.message: every letter is read back the way that a mail program does."""

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

from voxrec.mail.message import MessageDefaults, compose, file_name
from voxrec.model import Profile, Recording, RecordingState, Verdict

BEGAN = datetime(2026, 11, 23, 19, 31, tzinfo=UTC)
NOW = datetime(2026, 11, 23, 19, 34, 5, tzinfo=UTC)
AUDIO = b"RIFF....WAVE" + bytes(range(256)) * 40 + b"\n.\r\n..\r\n"
DIGEST = sha256(AUDIO).hexdigest()
URL = "https://voxrec.example.org/recordings/1?a=b&c=d"
RECORDING = Recording(
    id=UUID("6f0c3f2e-95f5-4c2a-9d3c-0a6c8e3f7b11"),
    profile_id=UUID(int=7),
    call_id=UUID(int=9),
    state=RecordingState.COMPLETED,
    started_at=BEGAN,
    ended_at=BEGAN + timedelta(seconds=125.4),
    duration=125.4,
    size=len(AUDIO),
    sha256=DIGEST,
    from_="+49123",
    from_name="Erna M\u00fcller",
    to="+49555",
    remote_sip_uri="sip:desk@pbx.example.org",
    path="2026/11/23/x.wav",
    created_at=BEGAN,
    updated_at=BEGAN,
)
PROFILE = Profile(
    id=UUID(int=7), name="Front <desk>", email="ann@example.org, bob@example.org", created_at=BEGAN, updated_at=BEGAN
)
STATIONERY = MessageDefaults("voxrec@example.org", 1_000_000)


class _Words(HTMLParser):
    """The text, and every tag with its attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


class LetterTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.audio = Path(self.mktemp())
        self.audio.write_bytes(AUDIO)

    def wire(self, stationery: MessageDefaults = STATIONERY, **changes: Any) -> bytes:
        return compose(replace(RECORDING, **changes), PROFILE, self.audio, URL, stationery, NOW)

    def letter(self, stationery: MessageDefaults = STATIONERY, **changes: Any) -> EmailMessage:
        return read(self.wire(stationery, **changes))


def read(wire: bytes) -> EmailMessage:
    message = email.message_from_bytes(wire, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


def text(message: EmailMessage, kind: str) -> str:
    part = message.get_body((kind,))
    assert part is not None
    return str(part.get_content()).replace("\r\n", "\n")


class Headers(LetterTestCase):
    def test_all(self) -> None:
        self.assertEqual(
            [(name, str(value)) for name, value in self.letter().items() if name != "Content-Type"],
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

    def test_a_repeated_letter_is_the_same_to_the_byte(self) -> None:
        self.assertEqual(self.wire(), self.wire())

    def test_no_call(self) -> None:
        self.assertNotIn("X-Voxrec-Call", self.letter(call_id=None))

    @settings(max_examples=300, deadline=None)
    @given(
        st.text(st.characters(), max_size=255),
        st.text(st.characters(), max_size=255),
        st.text(st.characters(), max_size=255),
    )
    def test_nothing_that_a_caller_sends_makes_a_header(self, name: str, number: str, dialled: str) -> None:
        self.audio = Path(__file__)
        wire = self.wire(MessageDefaults("voxrec@example.org", 0), from_name=name, from_=number, to=dialled)
        self.check_wire(wire)
        self.assertEqual(read(wire).keys(), self.letter(MessageDefaults("voxrec@example.org", 0)).keys())

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
            wire = self.wire(from_name=name)
            self.check_wire(wire)
            message = read(wire)
            self.assertEqual(message.keys(), self.letter().keys())
            self.assertEqual(message["To"], "ann@example.org, bob@example.org")
            self.assertEqual(len(list(message.iter_parts())), 2)

    def check_wire(self, wire: bytes) -> None:
        self.assertTrue(wire.isascii())
        lines = wire.split(b"\r\n")
        self.assertFalse([line for line in lines if b"\r" in line or b"\n" in line or b"\0" in line])
        self.assertLessEqual(max(map(len, lines)), 998)
        self.assertFalse([line for line in lines[: lines.index(b"")] if not line.strip() or line.endswith(b":")])

    def test_a_name_comes_through_whole(self) -> None:
        subject = str(self.letter(from_name="\u00c5sa \u00d6berg, Dr. \u201cX\u201d")["Subject"])
        self.assertTrue(subject.startswith("\u00c5sa \u00d6berg, Dr. \u201cX\u201d (+49123) called"), subject)

    def test_a_caller_without_a_number(self) -> None:
        self.assertTrue(str(self.letter(from_=None)["Subject"]).startswith("Erna M\u00fcller called"))
        subject = str(self.letter(from_=None, from_name="")["Subject"])
        self.assertTrue(subject.startswith("A caller who withheld the number called"), subject)
        self.assertTrue(str(self.letter(from_name="+49123")["Subject"]).startswith("+49123 called"))


class Body(LetterTestCase):
    def test_plain_text(self) -> None:
        self.assertEqual(
            text(self.letter(), "plain"),
            "Erna M\u00fcller (+49123) called +49555\n"
            "23 November 2026, 2 min 5 s\n\n"
            "Caller:  Erna M\u00fcller (+49123)\n"
            "Dialled: +49555\n"
            "Far end: sip:desk@pbx.example.org\n"
            "Profile: Front <desk>\n"
            "Began:   23 November 2026, 19:31:00 UTC\n"
            "Length:  2 min 5 s\n"
            f"File:    2026-11-23T19-31-00Z_+49123_to_+49555.wav, 10.3 kB ({len(AUDIO):,} bytes)\n"
            f"SHA-256: {DIGEST}\n\n"
            f"The recording is attached. It is also kept here:\n{URL}\n",
        )

    def test_html_says_the_same(self) -> None:
        page = _Words(text(self.letter(), "html"))
        words = re.sub(r"\s+", " ", " ".join(page.words))
        for line in text(self.letter(), "plain").splitlines():
            for part in re.split(r":  +|: ", line):
                self.assertIn(part, words)
        self.assertIn(("href", URL), [item for tag, attrs in page.tags for item in attrs.items() if tag == "a"])

    def test_html_loads_nothing_and_runs_nothing(self) -> None:
        page = _Words(text(self.letter(from_name="<img src=x onerror=alert(1)>", to='"><script>'), "html"))
        self.assertEqual(
            {tag for tag, _ in page.tags},
            {"html", "head", "meta", "title", "body", "div", "h1", "p", "table", "tr", "td", "a"},
        )
        names = {name for _, attrs in page.tags for name in attrs}
        self.assertEqual(names, {"lang", "charset", "name", "content", "style", "role", "href"})
        self.assertNotIn("url(", text(self.letter(), "html"))
        self.assertIn("<img src=x onerror=alert(1)>", " ".join(page.words))

    def test_a_verdict_that_is_not_ok(self) -> None:
        message = self.letter(verdict=Verdict(ok=False, reasons=("callee-silent", "it was <cut>")))
        warning = "Something is wrong with this recording: callee-silent; it was <cut>."
        self.assertIn(f"\n\n{warning}\n\n", text(message, "plain"))
        self.assertIn(warning, _Words(text(message, "html")).words)

    def test_a_verdict_that_is_ok(self) -> None:
        self.assertEqual(text(self.letter(verdict=Verdict(ok=True)), "plain"), text(self.letter(verdict=None), "plain"))

    def test_the_readers_time(self) -> None:
        message = self.letter(MessageDefaults("voxrec@example.org", 0, ZoneInfo("Pacific/Auckland")))
        self.assertIn("24 November 2026, 08:31:00 (+13:00), that is 19:31:00 UTC", text(message, "plain"))
        self.assertIn("24 Nov 2026 08:31", str(message["Subject"]))

    def test_little_is_known(self) -> None:
        message = self.letter(
            started_at=None, duration=None, sha256=None, to=None, remote_sip_uri=None, from_=None, from_name=None
        )
        self.assertIn("called unknown", str(message["Subject"]))
        self.assertIn("Length:  unknown length", text(message, "plain"))

    def test_lengths(self) -> None:
        for seconds, told in ((0.2, "0 s"), (59.6, "1 min 0 s"), (3600, "1 h 0 min 0 s"), (7325, "2 h 2 min 5 s")):
            self.assertIn(f"Length:  {told}\n", text(self.letter(duration=seconds), "plain"))


class Attachment(LetterTestCase):
    def test_byte_for_byte(self) -> None:
        (attached,) = self.letter().iter_attachments()
        self.assertEqual(attached.get_content(), AUDIO)
        self.assertEqual(attached.get_content_type(), "audio/wav")
        self.assertEqual(attached.get_filename(), "2026-11-23T19-31-00Z_+49123_to_+49555.wav")

    def test_every_length(self) -> None:
        block = 57 * 1024
        for size in (0, 1, 56, 57, 58, block - 1, block, block + 1, 3 * block + 29):
            content = (AUDIO * (size // len(AUDIO) + 1))[:size]
            self.audio.write_bytes(content)
            wire = self.wire()
            (attached,) = read(wire).iter_attachments()
            self.assertEqual(attached.get_content(), content)
            self.assertTrue(wire.endswith(b"--\r\n"))
            self.assertLessEqual(max(map(len, wire.split(b"\r\n"))), 78)

    def test_the_limit_is_the_last_size_that_fits(self) -> None:
        size = len(AUDIO)
        self.assertEqual(len(list(self.letter(MessageDefaults("voxrec@example.org", size)).iter_attachments())), 1)
        message = self.letter(MessageDefaults("voxrec@example.org", size - 1))
        self.assertEqual(message.get_content_type(), "multipart/alternative")
        for kind in ("plain", "html"):
            self.assertIn(f"too large for a mail (10.3 kB ({size:,} bytes))", text(message, kind))

    def test_a_format_without_a_media_type(self) -> None:
        (attached,) = self.letter(format="g729").iter_attachments()
        self.assertEqual(attached.get_content_type(), "application/octet-stream")
        self.assertEqual(attached.get_content(), AUDIO)

    def test_no_file(self) -> None:
        self.audio.unlink()
        self.assertRaises(FileNotFoundError, self.wire)

    def test_an_encoded_word_of_the_callers_makes_no_header(self) -> None:
        for name in (
            "=?utf-8?q?=0d=0aBcc:_eve@example.org?=",
            "=?utf-8?b?DQpCY2M6IGV2ZUBleGFtcGxlLm9yZw==?=",
            "==??q?=?",
        ):
            wire = self.wire(from_name=name)
            head = wire.partition(b"\r\n\r\n")[0]
            self.assertNotIn(b"\nBcc", head)
            letter = self.letter(from_name=name)
            self.assertEqual(letter["Bcc"], None)
            self.assertTrue(letter["Subject"].startswith(name.replace("=?", "= ?")), letter["Subject"])

    @given(st.text(st.characters()), st.text(st.characters()), st.text(st.characters(), min_size=1, max_size=12))
    def test_a_file_name_is_safe_everywhere(self, number: str, dialled: str, format_: str) -> None:
        name = file_name(replace(RECORDING, from_=number, to=dialled, format=format_))
        self.assertTrue(re.fullmatch(r"2026-11-23T19-31-00Z_[A-Za-z0-9+_-]+\.[A-Za-z0-9+_-]+", name), name)
        self.assertLessEqual(len(name), 200)

    def test_a_file_name_without_numbers(self) -> None:
        self.assertEqual(
            file_name(replace(RECORDING, from_=None, to="../../etc/passwd")),
            "2026-11-23T19-31-00Z_unknown_to_etc_passwd.wav",
        )
