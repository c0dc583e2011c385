"""Tests of voxrec.exports.spreadsheet."""

import csv
import io

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.store.samples import NOON, later, recording
from tests.subtest import subtest
from voxrec.exports.spreadsheet import HEADER, encode_row, recording_row
from voxrec.model import RecordingState, Verdict


def parse(line: bytes) -> list[str]:
    (row,) = csv.reader(io.StringIO(line.decode(), newline=""))
    return row


class RowTests(SynchronousTestCase):
    def test_formulas_are_neutralised(self) -> None:
        for text, expected in (
            ('=HYPERLINK("http://x")', '\'=HYPERLINK("http://x")'),
            ("+1+cmd|' /C calc'!A0", "'+1+cmd|' /C calc'!A0"),
            ("-1", "'-1"),
            ("@SUM(1)", "'@SUM(1)"),
            ("\t=1", "'\t=1"),
            ("\r=1", "'\r=1"),
            ("|calc", "'|calc"),
            ("\uff1d1\uff0b1", "'\uff1d1\uff0b1"),
            ("+4930123456", "+4930123456"),
            ("4930123456", "4930123456"),
            ("+49 30 =1", "'+49 30 =1"),
            ('Müller, "Erna"\n', 'Müller, "Erna"\n'),
            ("", ""),
        ):
            with subtest(text):
                self.assertEqual(parse(encode_row([text])), [expected] if expected else [""])

    @given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
    def test_no_cell_begins_a_formula(self, text: str) -> None:
        (cell,) = parse(encode_row([text, "x"]))[:1]
        self.assertNotIn(cell[:1], tuple("=-@\t\r\n|%\uff1d\uff0b\uff0d\uff20"))
        if cell.startswith("+"):
            self.assertTrue(cell[1:].replace(".", "").isdecimal())
        self.assertEqual(cell.removeprefix("'"), text.removeprefix("'"))

    def test_a_recording(self) -> None:
        row = recording_row(
            recording(
                state=RecordingState.COMPLETED,
                from_="+4930111",
                from_name="=1+1",
                started_at=NOON,
                ended_at=later(2),
                duration=2.0,
                verdict=Verdict(ok=False, reasons=("truncated", "silent")),
                metadata={"customer": "42"},
            ),
            "audio/1.wav",
        )
        cells = dict(zip(HEADER, parse(row), strict=True))
        expected = {
            "state": "completed",
            "from": "+4930111",
            "fromName": "'=1+1",
            "startedAt": "2026-05-04T12:00:00.123456Z",
            "duration": "2.0",
            "ok": "false",
            "reasons": "truncated; silent",
            "file": "audio/1.wav",
            "metadata": '{"customer":"42"}',
            "to": "",
        }
        self.assertEqual({key: cells[key] for key in expected}, expected)
