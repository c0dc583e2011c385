"""The rows of the CSV file in an export, without formulas that a spreadsheet would evaluate."""

import csv
import io
import re
from collections.abc import Sequence
from typing import Final

import msgspec

from voxrec.model import Note, Recording

BOM: Final = b"\xef\xbb\xbf"
"""Spreadsheets recognise UTF-8 by it."""
HEADER: Final = (
    *("id", "profileId", "callId", "state", "startedAt", "endedAt", "duration", "from", "fromName", "to"),
    *("remoteSipUri", "ok", "reasons", "format", "channels", "size", "sha256", "node", "file", "metadata", "tags"),
    "notes",
)
# The first character of a formula in one of the usual spreadsheets; the last four are the fullwidth forms of = + - @,
# which spreadsheets for East Asian languages convert (OWASP, CSV Injection).
_FORMULA: Final = re.compile(r"[=+\-@\t\r\n|%\uff1d\uff0b\uff0d\uff20]")
_NUMBER: Final = re.compile(r"\+?[0-9]+(\.[0-9]+)?")


def encode_row(values: Sequence[object]) -> bytes:
    """Return a line of CSV (RFC 4180) in UTF-8."""
    line = io.StringIO()
    csv.writer(line).writerow(["" if value is None else _neutralise(str(value)) for value in values])
    return line.getvalue().encode("utf-8", "backslashreplace")


def recording_row(recording: Recording, file: str | None, notes: Sequence[Note] = ()) -> bytes:
    """Return the row of a Recording. ``file`` is the name of its audio in the export."""
    verdict = recording.verdict
    return encode_row(
        (
            *(recording.id, recording.profile_id, recording.call_id, recording.state.value),
            *(_time(recording.started_at), _time(recording.ended_at), recording.duration),
            *(recording.from_, recording.from_name, recording.to, recording.remote_sip_uri),
            None if verdict is None else str(verdict.ok).lower(),
            None if verdict is None else "; ".join(verdict.reasons),
            *(recording.format, recording.channels, recording.size, recording.sha256, recording.node, file),
            msgspec.json.encode(recording.metadata).decode() if recording.metadata else None,
            ",".join(recording.tags),
            "\n".join(f"{note.author}: {note.text}" for note in notes),
        )
    )


def _neutralise(text: str) -> str:
    """Prefix what a spreadsheet would take for a formula with an apostrophe; a number such as +4930123 is harmless."""
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def _time(time: object) -> str | None:
    return None if time is None else msgspec.json.encode(time).decode().strip('"')
