"""Reads the dialled number, or the id of a Profile, from the user part of a request URI (RFC 3261, RFC 3966).

The user of a SIP URI with ``user=phone``, and often also of others, is a telephone subscriber: a number with visual
separators and parameters, such as ``+49-30-123456;npdi;rn=+4917012345``.
"""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote

_SEPARATORS: Final = str.maketrans("", "", "-.() ")
_SUBSCRIBER: Final = re.compile(r"\+?[0-9]+")
_GLOBAL_PREFIX: Final = re.compile(r"\+[0-9]+")
_CONTEXT: Final = "phone-context"


def without_separators(number: str) -> str:
    """Return a telephone number without its visual separators (RFC 3966 section 5.1.1) and spaces."""
    return number.translate(_SEPARATORS)


def dialled_numbers(user: str) -> tuple[str, ...]:
    """Return what the user part of a SIP URI, or all behind ``tel:``, may stand for, the most likely one first.

    A number has no separators and parameters. A local number of a context that is a prefix, such as
    ``phone-context=+4930``, stands for the number with this prefix, and otherwise for itself. Anything else than a
    number, such as the id of a Profile, is returned without its parameters.
    """
    subscriber, *parameters = user.split(";")
    number = without_separators(subscriber)
    if not _SUBSCRIBER.fullmatch(number):
        return (subscriber,)
    context = without_separators(_parameters(parameters).get(_CONTEXT, ""))
    if number.startswith("+") or not _GLOBAL_PREFIX.fullmatch(context):
        return (number,)
    return context + number, number


def subscriber_of(request_uri: str) -> str | None:
    """Return what is behind ``tel:`` in a request URI; None for another URI."""
    scheme, _, subscriber = request_uri.partition(":")
    return unquote(subscriber) if scheme.lower() == "tel" else None


def _parameters(parameters: list[str]) -> Mapping[str, str]:
    pairs = (parameter.partition("=") for parameter in parameters)
    return {name.strip().lower(): value for name, _, value in pairs}
