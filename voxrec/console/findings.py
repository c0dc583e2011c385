"""What checks, jobs and nodes report in English sentences without codes, in the user's language.

A file for each language (``findings/de.yaml``) has the translations by the English text, in which ``{name}`` stands for
a part that varies. What is not in it remains as it is, above all what other programs have said.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from typing import Final

from voxrec.languages import Language
from voxrec.strict_yaml import load_yaml

_PLACEHOLDER: Final = re.compile(r"\{(\w+)\}")
_DECIMAL: Final = re.compile(r"\d+\.\d+")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC")
_TIME_FORMAT: Final = "%Y-%m-%d %H:%M UTC"
_MAX_LENGTH: Final = 1000  # characters, which bounds the time of matching
_MAX_DEPTH: Final = 3  # parts within parts

_Translations = Mapping[re.Pattern[str], str]


def translate(language: Language, text: str) -> str:
    """Return a text in a language, as far as it is known; its varying parts likewise."""
    return text if len(text) > _MAX_LENGTH else _translate(language, text, _MAX_DEPTH)


def _translate(language: Language, text: str, depth: int) -> str:
    if _DECIMAL.fullmatch(text):
        return text.replace(".", language.text("decimal_separator"))
    if _TIME.fullmatch(text):
        return language.time(datetime.strptime(text, _TIME_FORMAT).replace(tzinfo=UTC))
    for pattern, translation in _translations(language.code).items():
        if (match := pattern.fullmatch(text)) is None:
            continue
        parts = match.groupdict()
        if depth:
            parts = {name: _translate(language, part, depth - 1) for name, part in parts.items()}
        return translation.format_map(parts)
    return text


def texts(code: str) -> Mapping[str, str]:
    """Return the translations into a language by the English text; none for English itself."""
    file = resources.files("voxrec.console").joinpath("findings", f"{code}.yaml")
    return load_yaml(file.read_text("utf-8")) if file.is_file() else {}


@cache
def _translations(code: str) -> _Translations:
    """Return the translations by the pattern of the English text, the most specific pattern first."""
    by_length = sorted(texts(code).items(), key=lambda item: -len(_PLACEHOLDER.sub("", item[0])))
    return {_pattern(text): translation for text, translation in by_length}


def _pattern(text: str) -> re.Pattern[str]:
    first, *others = _PLACEHOLDER.split(text)
    names, literals = others[::2], others[1::2]
    groups = [f"(?P<{name}>.+?){re.escape(literal)}" for name, literal in zip(names, literals, strict=True)]
    return re.compile("".join([re.escape(first), *groups]))
