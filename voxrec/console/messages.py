"""What the REST API says about a request that it refuses, in the user's language: by codes, not by its English text."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from voxrec.languages import Language, Languages
from voxrec.web.problems import InvalidField, Problem

ERROR_TEXTS: Final = Languages("voxrec.console", "error_texts")
_LISTED: Final = 30  # allowed values that a message names
_SEPARATED: Final = 10_000  # the smallest number with separators of thousands
_NUMBERS: Final = ("maximum", "minimum", "days", "number")
"""Parameters that decide between the singular and the plural of a text, the first that there is."""


def field_message(language: Language, error: InvalidField) -> str:
    """Return what is wrong with a field, and what is allowed.

    What REST says remains as it is if the code has no text, as one of a later version of a node.
    """
    return _text(language, "field_errors", error.code, error.params) or error.message


def problem_message(language: Language, problem: Problem) -> str:
    """Return why a request was refused."""
    return (
        _text(language, "problem_reasons", problem.reason or "", problem.params)
        or _text(language, "problem_codes", problem.code, problem.params)
        or problem.detail
    )


def message_for_script(language: Language, problem: Problem) -> str:
    """Return what a script shows about a request that was refused: what is wrong with its fields, or why."""
    return " ".join(field_message(language, error) for error in problem.errors) or problem_message(language, problem)


def _text(language: Language, section: str, code: str, params: Mapping[str, Any]) -> str:
    """Return a text of a section; empty if there is none, or if one of its parameters is missing or of another type."""
    text = _texts(language)[section].get(code, "")
    if isinstance(text, Mapping):
        number = next((params[name] for name in _NUMBERS if name in params), None)
        text = text["one" if number == 1 else "other"]
    try:
        return str(text).format_map({name: _value(language, name, value) for name, value in params.items()})
    except (KeyError, ValueError, OverflowError):
        return ""


def _texts(language: Language) -> Mapping[str, Any]:
    return ERROR_TEXTS.available[language.code].texts


def _value(language: Language, name: str, value: Any) -> str:
    match name, value:
        case "other", str():
            return str(language.texts.get(f"field_{value}", _texts(language)["fields"].get(value, value)))
        case "expected", str():
            return str(_texts(language)["json_types"].get(value, value))
        case "role", str():
            return str(language.texts.get(f"role_{value}", value))
        case "time", str():
            return language.time(datetime.fromisoformat(value))
        case "addresses", []:
            return language.text("none")
        case _, list():
            more = "" if len(value) <= _LISTED else ", …"
            return ", ".join(map(str, value[:_LISTED])) + more
        case _, bool():
            return language.text("yes" if value else "no")
        case _, int() | float():
            return _number(language, value)
    return str(value)


def _number(language: Language, number: float) -> str:
    """Return a number as people write it, with separators of thousands from 10,000 on."""
    text = f"{number:,.15g}" if abs(number) >= _SEPARATED else f"{number:.15g}"
    separators = {",": language.text("thousands_separator"), ".": language.text("decimal_separator")}
    return "".join(separators.get(character, character) for character in text)
