"""Whether a client accepts what there is to give (RFC 9110 section 12.5.1)."""

from typing import Final

_NONE: Final = (-1, 0.0)


def accepts(header: str, media_type: str) -> bool:
    """Whether ``media_type`` may be sent to a client with this Accept header; without one, anything may."""
    if not header.strip():
        return True
    return max((_weigh(part, media_type) for part in header.split(",")), key=_specific, default=_NONE)[1] > 0


def _specific(weighed: tuple[int, float]) -> int:
    return weighed[0]


def _weigh(part: str, media_type: str) -> tuple[int, float]:
    """How exactly one media range names the type (-1: not at all), and its quality."""
    given, *parameters = (piece.strip().lower() for piece in part.split(";"))
    kind = media_type.partition("/")[0]
    ranges = ("*/*", f"{kind}/*", media_type)
    if given not in ranges:
        return _NONE
    quality = next((value for name, _, value in (p.partition("=") for p in parameters) if name.strip() == "q"), "1")
    try:
        return ranges.index(given), float(quality)
    except ValueError:
        return ranges.index(given), 0.0
