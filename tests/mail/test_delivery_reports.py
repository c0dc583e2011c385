"""Tests of voxrec.mail.delivery_reports, with messages in the formats of common mail servers."""

import random
from pathlib import Path
from typing import Final

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from voxrec.mail.delivery_reports import BounceReport, parse_report
from voxrec.model import ReportAction

SAMPLES: Final = Path(__file__).parent / "bounces"
EXPECTED: Final = {
    "postfix_failed": BounceReport(
        ReportAction.FAILED,
        "550 5.1.1 <desk@example.org>: Recipient address rejected: User unknown in virtual mailbox table "
        "(desk@example.org)",
        "5.1.1",
        "mx.example.org",
    ),
    "postfix_expired": BounceReport(
        ReportAction.FAILED,
        "connect to mx.slow.example[192.0.2.26]:25: Connection timed out (desk@slow.example)",
        "4.4.1",
    ),
    "postfix_delayed": BounceReport(
        ReportAction.DELAYED,
        "connect to mx.slow.example[192.0.2.26]:25: Connection refused (desk@slow.example)",
        "4.4.1",
    ),
    "exim_failed": BounceReport(
        ReportAction.FAILED, "550 5.2.1 The mailbox is disabled (desk@example.org)", "5.0.0", "mx.example.org"
    ),
    "exim_without_report": BounceReport(ReportAction.FAILED, "552 5.2.2 Mailbox full", "5.2.2"),
    "exchange_failed": BounceReport(
        ReportAction.FAILED,
        "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient desk@example.com not found by SMTP address lookup "
        "(desk@example.com)",
        "5.1.10",
    ),
    "gmail_failed": BounceReport(
        ReportAction.FAILED,
        "550-5.1.1 The email account that you tried to reach does not exist. Please try 550-5.1.1 double-checking the "
        "recipient's email address for typos or 550 5.1.1 unnecessary spaces. - gsmtp (desk@gmail.example)",
        "5.1.1",
        "gmail-smtp-in.l.google.com. (2a00:1450:4025:c03::1b, the server for the domain gmail.example.)",
    ),
    "sendmail_failed": BounceReport(
        ReportAction.FAILED,
        "550 5.7.1 Message rejected by policy (desk@example.net)",
        "5.7.1",
        "store.example.net",
    ),
    "international_failed": BounceReport(
        ReportAction.FAILED,
        "550 5.1.1 Postfach gr\u00fc\u00dfe unbekannt (gr\u00fc\u00dfe@example.org)",
        "5.1.1",
        "mx.example.org",
    ),
    "list_partly_failed": BounceReport(ReportAction.FAILED, "552 5.2.2 over quota (bob@example.org)", "5.2.2"),
    "delivered": BounceReport(ReportAction.RELAYED, "250 2.0.0 OK (desk@example.org)", "2.0.0", "store.example.org"),
    "vacation": None,
    "exchange_out_of_office": None,
    "receipt": None,
    "unknown": BounceReport(ReportAction.UNKNOWN, "The gateway has a problem with your mail."),
}
ACTIONS_OF_TEXTS: Final = {
    "qmail_failed": ReportAction.FAILED,
    "exim_warning_without_report": ReportAction.DELAYED,
}


def sample(name: str) -> bytes:
    """Return a returned mail."""
    return (SAMPLES / f"{name}.eml").read_bytes()


class ReportTests(SynchronousTestCase):
    def test_reports_of_common_mail_servers(self) -> None:
        for name, expected in EXPECTED.items():
            self.assertEqual(parse_report(sample(name)), expected, name)

    def test_bounces_without_a_report(self) -> None:
        for name, action in ACTIONS_OF_TEXTS.items():
            report = parse_report(sample(name))
            assert report is not None
            self.assertIs(report.action, action, name)

    def test_every_sample_is_expected(self) -> None:
        names = {path.stem for path in SAMPLES.iterdir()}
        self.assertEqual(names, {*EXPECTED, *ACTIONS_OF_TEXTS})

    def test_crlf(self) -> None:
        for name, expected in EXPECTED.items():
            self.assertEqual(parse_report(sample(name).replace(b"\n", b"\r\n")), expected, name)

    def test_a_message_that_is_cut_off_behind_the_report(self) -> None:
        data, _, _ = sample("postfix_failed").partition(b"Content-Description: Undelivered Message Headers")
        self.assertEqual(parse_report(data), EXPECTED["postfix_failed"])

    def test_the_returned_mail_is_not_taken_for_the_report(self) -> None:
        """A bounce of a bounce: the first part of the returned mail looks like a report."""
        inner = sample("delivered")
        outer = b"\n".join(
            [
                b"From: gateway@example.org",
                b"Content-Type: multipart/mixed; boundary=OUTER",
                b"",
                b"--OUTER",
                b"Content-Type: text/plain",
                b"",
                b"Something is wrong.",
                b"--OUTER",
                b"Content-Type: message/rfc822",
                b"",
                inner,
                b"--OUTER--",
            ]
        )
        self.assertEqual(parse_report(outer), BounceReport(ReportAction.UNKNOWN, "Something is wrong."))

    def test_a_missing_action_follows_from_the_status(self) -> None:
        for status, action in (
            (b"5.1.1", ReportAction.FAILED),
            (b"4.2.2", ReportAction.DELAYED),
            (b"2.0.0", ReportAction.DELIVERED),
            (b"9", ReportAction.UNKNOWN),
        ):
            data = (
                sample("postfix_failed")
                .replace(b"Action: failed\n", b"")
                .replace(b"Status: 5.1.1", b"Status: " + status)
            )
            report = parse_report(data)
            assert report is not None
            self.assertIs(report.action, action, status)

    def test_nothing_can_be_smuggled_into_a_log_line(self) -> None:
        data = sample("postfix_failed").replace(b"User unknown", b"User\x1b[31m\x00 unknown \xe2\x80\xae")
        report = parse_report(data)
        assert report is not None
        self.assertTrue(report.reply.isprintable(), report.reply)

    def test_deep_nesting_is_not_an_error(self) -> None:
        lines = [b"Content-Type: multipart/mixed; boundary=b0", b""]
        for number in range(3000):
            lines += [b"--b%d" % number, b"Content-Type: multipart/mixed; boundary=b%d" % (number + 1), b""]
        report = parse_report(b"\n".join(lines))
        assert report is not None
        self.assertIs(report.action, ReportAction.UNKNOWN)


class FuzzTests(SynchronousTestCase):
    @settings(max_examples=150, deadline=None)
    @given(st.sampled_from([*EXPECTED, *ACTIONS_OF_TEXTS]), st.integers(0, 2**32), st.integers(1, 40))
    def test_damaged_reports_never_raise(self, name: str, seed: int, count: int) -> None:
        data, generator = bytearray(sample(name)), random.Random(seed)  # noqa: S311
        for _ in range(count):
            position = generator.randrange(len(data))
            match generator.randrange(4):
                case 0:
                    data[position] = generator.randrange(256)
                case 1:
                    del data[position : position + generator.randrange(1, 60)]
                case 2:
                    data[position:position] = generator.choice([b"\n", b"\n\n", b"--", b";", b":", b"\x00", b"=?x?q?="])
                case _:
                    start = generator.randrange(len(data))
                    data[position:position] = data[start : start + generator.randrange(1, 200)]
            if not data:
                return
        report = parse_report(bytes(data))
        if report is not None:
            for text in (report.reply, report.status, report.remote_mta):
                self.assertTrue(text.isprintable())
                self.assertLessEqual(len(text), 500)

    @settings(max_examples=100, deadline=None)
    @given(st.binary(max_size=2000))
    def test_arbitrary_bytes_never_raise(self, data: bytes) -> None:
        parse_report(data)
        parse_report(
            b"Content-Type: multipart/report; boundary=x\n\n--x\nContent-Type: message/delivery-status\n\n" + data
        )
