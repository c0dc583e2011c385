"""Makes text from outside (a mail server's reply, a caller's name, an exception) safe for a log line or a header."""

import re
from typing import Final

_ADDRESS: Final = re.compile(r"<?[^\s<>@,;:\"']+@[^\s<>@,;:\"']+>?")


def sanitize_line(text: str, limit: int = 500) -> str:
    """Return ``text`` as one printable line of at most ``limit`` characters.

    Runs of white space become one space; control characters, directional overrides and lone surrogates become visible
    escape sequences. The result can therefore not forge a second log line or mail header, does not control a terminal,
    and has no NUL, which PostgreSQL refuses.
    """
    start = text[: 4 * limit]  # bounds the work for very long texts
    line = "".join(c if c.isprintable() else _escape(c) for c in " ".join(start.split()))
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def hide_addresses(text: str) -> str:
    """Return ``text`` with ``<address>`` in the place of each mail address and SIP address, for the log."""
    return _ADDRESS.sub("<address>", text)
