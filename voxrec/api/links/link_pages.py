"""The HTML of the pages behind an expiring link: the invitation to open it, the player with the facts, and errors."""

from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from html import escape
from importlib import resources
from string import Template
from typing import Final

from voxrec.audio.formats import FORMATS, PLAYABLE, PLAYER_FORMAT
from voxrec.languages import Language, Languages
from voxrec.model import Link, Profile, Recording, Verdict
from voxrec.sanitize import sanitize_line
from voxrec.web.response import Response

HTML: Final = "text/html; charset=utf-8"
LANGUAGES: Final = Languages("voxrec.api.links", "link_page")
_MAX_VALUE: Final = 255  # characters
_MAX_IN_TITLE: Final = 80  # characters of a party


@dataclass(frozen=True, slots=True)
class PageAddresses:
    """The addresses on a page, relative to it: the page itself and the audio."""

    page: str
    audio: str


def invitation_page(language: Language, link: Link, addresses: PageAddresses) -> Response:
    """Return the page before the recording is opened. It has nothing about the recording: scanners of mail read it."""
    text = language.text
    notes = [text("logged")]
    if link.max_uses is not None:
        left = link.max_uses - link.uses
        notes.append(text("once") if left == 1 else text("uses_left", count=left))
    notes.append(text("expires", time=language.time(link.expires_at)))
    content = (
        f"<p>{escape(text('invitation'))}</p>\n"
        f'<form method="post" action="{escape(addresses.page)}">\n'
        f'<p><button class="button" type="submit">{escape(text("open"))}</button></p>\n</form>\n'
        f'<p class="muted">{escape(" ".join(notes))}</p>\n'
    )
    return _page(language, 200, text("title"), content)


def player_page(
    language: Language, link: Link, recording: Recording, profile: Profile | None, addresses: PageAddresses
) -> Response:
    """Return the page with the player. ``profile`` None: it was deleted."""
    text = language.text
    caller, called = _caller(language, recording), _line(recording.to) or text("unknown")
    title = text(
        "title_parties", caller=sanitize_line(caller, _MAX_IN_TITLE), called=sanitize_line(called, _MAX_IN_TITLE)
    )
    content = "".join(
        [
            *_warning(language, recording.verdict),
            *_player(language, recording, addresses),
            f"<h2>{escape(text('facts'))}</h2>\n<dl>\n",
            *_facts(language, recording, profile, caller, called),
            "</dl>\n",
            f'<footer><p class="muted">{escape(text("expires", time=language.time(link.expires_at)))}</p></footer>\n',
        ]
    )
    return _page(language, 200, title, content)


def message_page(language: Language, status: int, title: str, message: str) -> Response:
    """Return a page that says why there is no recording."""
    return _page(language, status, title, f"<p>{escape(message)}</p>\n")


def _player(language: Language, recording: Recording, addresses: PageAddresses) -> Iterator[str]:
    text = language.text
    if recording.path is None:
        yield f"<p>{escape(text('unavailable'))}</p>\n"
        return
    audio_format = FORMATS.get(recording.format)
    name = (recording.format if audio_format is None else audio_format.suffix).upper()
    source = addresses.audio
    if recording.format not in PLAYABLE:
        source = f"{addresses.audio}?format={PLAYER_FORMAT}"
        yield f'<p class="muted">{escape(text("converted", format=name))}</p>\n'
    label = text("player", duration=language.duration(recording.duration))
    yield (
        f'<audio controls preload="metadata" src="{escape(source)}" aria-label="{escape(label)}">'
        f"{escape(text('no_player'))}</audio>\n"
    )
    download = text("download", format=name, size=language.size(recording.size or 0))
    yield f'<p><a class="button" href="{escape(addresses.audio)}" download>{escape(download)}</a></p>\n'


def _facts(
    language: Language, recording: Recording, profile: Profile | None, caller: str, called: str
) -> Iterator[str]:
    text = language.text
    facts = [("caller", caller), ("called", called)]
    if profile is not None and profile.name:
        facts.append(("profile", _line(profile.name)))
    facts += [
        ("started", language.time(recording.started_at or recording.created_at)),
        ("duration", language.duration(recording.duration)),
        ("verdict", _verdict(language, recording.verdict)),
    ]
    for key, value in facts:
        yield f"<div><dt>{escape(text(key))}</dt><dd>{escape(value)}</dd></div>\n"
    if recording.sha256:
        yield f'<div><dt>{escape(text("sha256"))}</dt><dd class="hash">{recording.sha256}</dd></div>\n'


def _verdict(language: Language, verdict: Verdict | None) -> str:
    if verdict is None:
        return language.text("verdict_none")
    if verdict.ok:
        return language.text("verdict_ok")
    reasons = [language.reason(sanitize_line(reason, _MAX_VALUE)) for reason in verdict.reasons]
    return language.text("verdict_problem", reasons="; ".join(reasons) or language.text("unknown"))


def _warning(language: Language, verdict: Verdict | None) -> Iterator[str]:
    if verdict is not None and not verdict.ok:
        yield f'<p class="warning">{escape(_verdict(language, verdict))}</p>\n'


def _caller(language: Language, recording: Recording) -> str:
    name, number = _line(recording.from_name), _line(recording.from_)
    if name and number and name != number:
        return f"{name} ({number})"
    return name or number or language.text("withheld")


def _line(text: str | None) -> str:
    return sanitize_line(text or "", _MAX_VALUE)


def _page(language: Language, status: int, title: str, content: str) -> Response:
    style = _resource("page.css")
    page = Template(_resource("page.html")).substitute(
        language=language.code, title=escape(title), style=style, content=content
    )
    headers = {
        "Content-Type": HTML,
        "Content-Language": language.code,
        "Content-Security-Policy": _content_security_policy(style),
        "Vary": "Accept-Language, Cookie",
        "X-Robots-Tag": "noindex, nofollow, noarchive",
    }
    return Response(status, headers, page.encode())


@cache
def _content_security_policy(style: str) -> str:
    """Return a policy that permits the style sheet in the page, the audio and the form of this site, and no script."""
    digest = b64encode(sha256(style.encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; media-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    )


@cache
def _resource(name: str) -> str:
    return resources.files(__package__).joinpath("link_page", name).read_text("utf-8")
