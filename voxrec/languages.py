"""The languages of pages and mails: texts in YAML files; the choice by Accept-Language (RFC 9110 section 12.5.4).

All pages and mails share the texts about the reasons of a verdict.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache, cached_property
from importlib import resources
from typing import Any, Final

from voxrec.strict_yaml import load_yaml

DEFAULT: Final = "en"
_SUFFIX: Final = ".yaml"
_NUMBER: Final = re.compile(r"(?P<key>.*) \((?P<number>\d+) s\)")  # at the end of a reason


class Language:
    """The texts of a page in one language. ``code`` is that of the language, such as ``de``."""

    def __init__(self, code: str, texts: Mapping[str, Any]) -> None:
        self.code = code
        self.texts = texts

    def text(self, key: str, **values: object) -> str:
        """Return a text with ``values`` in it. Raises KeyError if the language has no such text."""
        return str(self.texts[key]).format_map(values)

    def reason(self, reason: str) -> str:
        """Return a reason of a verdict in words; unchanged if it has no translation, such as one of a later version."""
        return _about_reason(self.code, reason, "text") or reason

    def advice(self, reason: str) -> str:
        """Return what to do about a reason of a verdict; empty if it has no text."""
        return _about_reason(self.code, reason, "advice")

    def time(self, time: datetime) -> str:
        """Return a time in UTC."""
        utc = time.astimezone(UTC)
        date = self.text("date", day=utc.day, month=self.texts["months"][utc.month - 1], year=utc.year)
        return self.text("time", date=date, time=f"{utc:%H:%M}")

    def duration(self, seconds: float | None) -> str:
        """Return a duration."""
        if seconds is None:
            return self.text("unknown")
        minutes, seconds_left = divmod(round(seconds), 60)
        hours, minutes = divmod(minutes, 60)
        key = "hours" if hours else "minutes" if minutes else "seconds"
        return self.text(key, hours=hours, minutes=minutes, seconds=seconds_left)

    def size(self, size: int) -> str:
        """Return a size in bytes."""
        if size >= 1e9:
            amount, unit = size / 1e9, "GB"
        else:
            amount, unit = (size / 1e6, "MB") if size >= 1e6 else (size / 1e3, "kB")
        return f"{self.decimal(amount, 1)} {unit}"

    def decimal(self, number: float, digits: int) -> str:
        """Return a number with ``digits`` decimal places."""
        return f"{number:.{digits}f}".replace(".", self.text("decimal_separator"))


class Languages:
    """The languages of some pages: one file of texts for each, such as ``de.yaml``, in a directory of a package."""

    def __init__(self, package: str, directory: str) -> None:
        self._directory = resources.files(package).joinpath(directory)

    @cached_property
    def available(self) -> Mapping[str, Language]:
        """The languages for which there is a file, by code."""
        return {
            code: Language(code, load_yaml(file.read_text("utf-8")))
            for file in self._directory.iterdir()
            if (code := file.name.removesuffix(_SUFFIX)) != file.name
        }

    def choose(self, accept_language: str) -> Language:
        """Return the language that a client prefers; English if there is none of those that it accepts."""
        best, best_quality = DEFAULT, 0.0
        for part in accept_language.split(",")[:20]:
            range_, _, parameters = part.partition(";")
            code = range_.strip().lower().partition("-")[0]
            quality = _quality(parameters)
            if (code in self.available or code == "*") and quality > best_quality:
                best, best_quality = (DEFAULT if code == "*" else code), quality
        return self.available[best]


def _quality(parameters: str) -> float:
    name, _, value = parameters.strip().partition("=")
    if name.strip().lower() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0


def _about_reason(language: str, reason: str, kind: str) -> str:
    """Return a text about a reason of a verdict, in English if it is not in ``language``; empty without one."""
    match = _NUMBER.fullmatch(reason)
    key, number = (match["key"], match["number"]) if match else (reason, "")
    texts = _reason_texts()
    about = texts.get(language, texts[DEFAULT]).get(key, {})
    return about.get(kind, "").format(number=number)


@cache
def _reason_texts() -> Mapping[str, Mapping[str, Mapping[str, str]]]:
    """Return what is known about the reasons, by language, reason, and kind of the text (``text`` or ``advice``)."""
    directory = resources.files("voxrec").joinpath("reason_texts")
    return {
        file.name.removesuffix(_SUFFIX): load_yaml(file.read_text("utf-8"))
        for file in directory.iterdir()
        if file.name.endswith(_SUFFIX)
    }
