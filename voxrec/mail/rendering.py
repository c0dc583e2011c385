"""Fills the text and HTML templates of the mail, which are in ``templates``."""

from functools import cache
from html import escape
from importlib import resources
from string import Template

from voxrec.mail.content import Content


def render_text(content: Content) -> str:
    """Return the plain text body."""
    width = max(len(label) for label, _ in content.facts) + 2
    return _template("message.txt").substitute(
        title=content.title,
        summary=content.summary,
        warning=f"{content.warning}\n\n" if content.warning else "",
        facts="\n".join(f"{label + ':':{width}}{value}" for label, value in content.facts),
        introduction=content.introduction,
        url=f"{content.url}\n" if content.url else "",
    )


def render_html(content: Content, waveform_cid: str = "") -> str:
    """Return the HTML body. ``waveform_cid`` is the Content-ID of the inline image, or empty if there is none."""
    warning = _render("warning.html", warning=content.warning) if content.warning else ""
    waveform = _render("waveform.html", cid=waveform_cid, description=content.waveform_description)
    return _template("message.html").substitute(
        title=escape(content.title),
        summary=escape(content.summary),
        warning=warning,
        facts="".join(_render("fact.html", label=label, value=value) for label, value in content.facts),
        waveform=waveform if waveform_cid else "",
        introduction=escape(content.introduction),
        link=_render("link.html", url=content.url, button=content.button) if content.url else "",
        language=escape(content.language),
    )


def _render(template: str, **values: str) -> str:
    return _template(template).substitute({name: escape(value) for name, value in values.items()})


@cache
def _template(name: str) -> Template:
    return Template(resources.files(__package__).joinpath("templates", name).read_text("utf-8"))
