"""Writes the log: as text or as JSON, from a level upwards, with the priorities that systemd's journal reads."""

import json
import math
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from string import Formatter
from typing import Any, Final, Literal, Protocol, TextIO, TypeAlias

from twisted.logger import ILogObserver, LogEvent, LogLevel, eventAsText, formatEvent
from zope.interface import implementer

LogFormat: TypeAlias = Literal["text", "json"]
LevelName: TypeAlias = Literal["debug", "info", "warning", "error"]

_LEVELS: Final[Mapping[str, Any]] = {
    "debug": LogLevel.debug,
    "info": LogLevel.info,
    "warning": LogLevel.warn,
    "error": LogLevel.error,
}
_NAMES: Final = {LogLevel.warn: "warning"}  # the others have the names of Twisted
# syslog(3), as sd-daemon(3) writes them
_PRIORITIES: Final = {
    LogLevel.debug: 7,
    LogLevel.info: 6,
    LogLevel.warn: 4,
    LogLevel.error: 3,
    LogLevel.critical: 2,
}


class Stream(Protocol):
    """What the log is written to."""

    def write(self, text: str, /) -> object:
        """Write text."""

    def flush(self) -> None:
        """Write what is buffered."""


@implementer(ILogObserver)
class LogOutput:
    """A log observer that writes each event of at least ``level`` to ``stream``.

    ``log_format`` "text" writes what Twisted writes; "json" writes an object in one line. With ``journal``, the stream
    is read by systemd's journal: each line begins with its priority (sd-daemon(3)), and text has no timestamp, which
    the journal adds itself. ``node`` is the name of this node, which each event contains.
    """

    def __init__(
        self,
        stream: Stream,
        *,
        level: LevelName = "info",
        log_format: LogFormat = "text",
        journal: bool = False,
        node: str = "",
    ) -> None:
        self._node = node
        self._stream = stream
        self._journal = journal
        self.configure(level, log_format)

    def configure(self, level: LevelName, log_format: LogFormat) -> None:
        """Change the level and the format of the following events."""
        self._level = _LEVELS[level]
        self._format = log_format

    def __call__(self, event: LogEvent) -> None:
        """Write an event, unless its level is too low, or it is empty."""
        level = event.get("log_level") or LogLevel.info
        if level < self._level:
            return
        lines = [_json_line(event, level, self._node)] if self._format == "json" else self._text_lines(event)
        if lines:
            prefix = f"<{_PRIORITIES[level]}>" if self._journal else ""
            self._stream.write("".join(f"{prefix}{line}\n" for line in lines))
            self._stream.flush()

    def _text_lines(self, event: LogEvent) -> list[str]:
        text = eventAsText(event, includeTimestamp=not self._journal)
        if not text:  # an event without text, which Twisted does not write either
            return []
        if self._node:
            time, separator, rest = ("", "", text) if self._journal else text.partition(" ")
            text = f"{time}{separator}{self._node} {rest}"
        return [line for line in text.replace("\n", "\n\t").split("\n") if line.strip()]


def is_journal(stream: TextIO) -> bool:
    """Return whether systemd's journal reads ``stream``: its file is the one that ``JOURNAL_STREAM`` names.

    Source: systemd.exec(5), "Environment Variables Set or Propagated by the Service Manager".
    """
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):  # it is closed, or no file
        return False
    return os.environ.get("JOURNAL_STREAM", "") == f"{status.st_dev}:{status.st_ino}"


def _json_line(event: LogEvent, level: Any, node: str) -> str:
    """Return one JSON object. ``fields`` has the values that the message contains, and no others."""
    time = datetime.fromtimestamp(event.get("log_time", 0.0), UTC)
    entry: dict[str, object] = {
        "time": time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": _NAMES.get(level, level.name),
        **({"node": node} if node else {}),
        "logger": event.get("log_namespace", ""),
        "message": formatEvent(event),
        "fields": {name: _plain(event[name]) for name in _names_in(event) if name in event},
    }
    if "log_failure" in event:
        entry["traceback"] = event["log_failure"].getTraceback()
    # lone surrogates, as in names of files that are not UTF-8, are not valid in JSON
    return json.dumps(entry, ensure_ascii=False).encode("utf-8", "replace").decode()


def _names_in(event: LogEvent) -> list[str]:
    """Return the names of the plain fields in the format of an event."""
    try:
        return [name for _, name, _, _ in Formatter().parse(event.get("log_format") or "") if name]
    except (TypeError, ValueError):
        return []


def _plain(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # not a number in JSON
    return value if isinstance(value, str | int | float | None) else str(value)
