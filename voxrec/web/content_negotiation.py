"""Content negotiation by the Accept header (RFC 9110 section 12.5.1)."""

from typing import Final

_NO_MATCH: Final = (-1, 0.0)


def accepts(header: str, media_type: str) -> bool:
    """Return whether an Accept header permits ``media_type``. An empty header permits everything."""
    if not header.strip():
        return True
    return max((_match(part, media_type) for part in header.split(",")), key=_specificity, default=_NO_MATCH)[1] > 0


def _specificity(match: tuple[int, float]) -> int:
    return match[0]


def _match(media_range: str, media_type: str) -> tuple[int, float]:
    """Return how specific the range is (-1: it does not include the type), and its quality value."""
    range_, *parameters = (part.strip().lower() for part in media_range.split(";"))
    ranges = ("*/*", f"{media_type.partition('/')[0]}/*", media_type)
    if range_ not in ranges:
        return _NO_MATCH
    quality = next((value for name, _, value in (p.partition("=") for p in parameters) if name.strip() == "q"), "1")
    try:
        return ranges.index(range_), float(quality)
    except ValueError:
        return ranges.index(range_), 0.0
