"""Rendering of the console's pages: templates, texts in the user's language, and the headers of pages."""

import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache, partial
from importlib import resources
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from voxrec.console.findings import translate
from voxrec.languages import Language, Languages
from voxrec.web.response import Response

HTML: Final = "text/html; charset=utf-8"
LANGUAGES: Final = Languages("voxrec.console", "texts")
# Only files of this server, so that text of others can never run as a script. The waveform player has its style sheet
# inside the page, in a part of the document of its own, which is why it needs a nonce.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-{nonce}'; connect-src 'self'; "
    "img-src 'self' data:; media-src {media}; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_WITH_CONVERTED_AUDIO: Final = frozenset({"recording.html"})
"""The pages that play audio that was converted for the browser, which is a blob of the page."""
_WITH_MICROPHONE: Final = frozenset({"profile_form.html"})
"""The pages that record announcements. They play the audio, a blob of the page, before it is uploaded."""


class Renderer:
    """Renders templates. What they show is escaped, and a name that a template misspells is an error."""

    def __init__(self) -> None:
        self._environment = Environment(
            loader=PackageLoader("voxrec.console"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def page(self, template: str, language: Language, status: int = 200, /, **values: Any) -> Response:
        """Return the response with a page; ``values`` are those of the template."""
        nonce = secrets.token_urlsafe(16)
        text = self._environment.get_template(template).render(
            language=language.code,
            t=language.text,
            reason=language.reason,
            duration=language.duration,
            size=language.size,
            decimal=language.decimal,
            finding=partial(translate, language),
            time=self.time_element(language),
            nonce=nonce,
            **values,
        )
        records = template in _WITH_MICROPHONE
        plays_blobs = records or template in _WITH_CONVERTED_AUDIO
        headers = {
            "Content-Type": HTML,
            "Content-Language": language.code,
            "Content-Security-Policy": _POLICY.format(nonce=nonce, media="'self' blob:" if plays_blobs else "'self'"),
            # error pages lead back to it; and without it, the Origin of forms would be null (see SessionCookie)
            "Referrer-Policy": "same-origin",
            "Vary": "Accept-Language, Cookie",
            **({"Permissions-Policy": "camera=(), geolocation=(), microphone=(self)"} if records else {}),
        }
        return Response(status, headers, text.encode())

    @staticmethod
    def time_element(language: Language) -> Callable[[str | None], Markup]:
        """Return a function that renders a time in UTC, which a script replaces by the time of the viewer's zone."""

        def render(value: str | None) -> Markup:
            if not value:
                return Markup.escape(language.text("none"))
            moment = datetime.fromisoformat(value)
            iso = moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            return Markup('<time datetime="{}">{}</time>').format(iso, language.time(moment))

        return render


@cache
def asset(name: str) -> bytes | None:
    """Return a file that pages refer to, or None if there is none with this name."""
    directory = resources.files("voxrec.console").joinpath("assets")
    for candidate in (directory.joinpath(name), directory.joinpath("vendor", name)):
        if candidate.name == name and candidate.is_file():
            return candidate.read_bytes()
    return None
