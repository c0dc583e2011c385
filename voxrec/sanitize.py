"""Foreign words (a mail server's reply, a caller's name, an exception's text) made fit for one line of ours."""


def sanitize_line(text: str, limit: int = 500) -> str:
    """Return ``text`` on one line, at most ``limit`` characters long, with nothing in it that a terminal would obey.

    White space runs become one space; control characters, directional overrides and lone surrogates become visible
    escapes. So it can neither forge a second log line or mail header, nor be refused by PostgreSQL for a NUL.
    """
    cut = text[: 4 * limit]  # no need to look at megabytes for a line's worth
    shown = "".join(c if c.isprintable() else _escaped(c) for c in " ".join(cut.split()))
    return shown if len(shown) <= limit else f"{shown[: limit - 1]}…"


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
