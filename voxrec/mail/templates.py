"""The texts of a mail: by the templates of the installation or of a Profile, otherwise in the built-in form."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from voxrec.mail.content import Content
from voxrec.mail.rendering import render_html, render_text
from voxrec.model import Profile, Recording
from voxrec.sanitize import sanitize_line

_TIME_LIMIT: Final = 20.0  # seconds; the process ends after 4 s of CPU time
_PASSED_ON: Final = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH")  # other environment variables may be secrets
_MAX_SUBJECT: Final = 400  # characters
_MAX_VALUE: Final = 255  # characters


class TemplateError(Exception):
    """A template cannot be rendered. The message names the file, the line if it is known, and the reason."""


@dataclass(frozen=True, slots=True)
class Texts:
    """The texts of a mail. ``problem``: why the built-in form is used instead of templates; otherwise empty."""

    subject: str
    text: str
    html: str
    problem: str = ""


def render_texts(
    content: Content,
    recording: Recording,
    profile: Profile,
    templates: Path | None,
    waveform_cid: str,
    attached: bool,
) -> Texts:
    """Return the texts of a mail. Blocks for at most 20 s if there are templates: run it in a thread.

    ``templates`` is the directory of the installation's templates; a Profile's are in a directory in it.
    ``waveform_cid`` is the Content-ID of the picture, or empty without one. A text without a template has the built-in
    form. If a template fails, all texts have it, so that a mail is always sent.
    """
    built_in = Texts(content.subject, render_text(content), render_html(content, waveform_cid))
    if templates is None and profile.mail_template is None:
        return built_in
    try:
        directories = _directories(templates, profile.mail_template)
        values = _values(content, recording, profile, waveform_cid, attached)
        texts = _run(directories, content.language, values)
    except TemplateError as error:
        return replace(built_in, problem=str(error))
    subject = sanitize_line(texts.get("subject", ""), _MAX_SUBJECT)
    return Texts(subject or built_in.subject, texts.get("text", built_in.text), texts.get("html", built_in.html))


def _directories(templates: Path | None, name: str | None) -> list[str]:
    if templates is None:
        raise TemplateError(f"the Profile has the templates {name!r}, but mail.templates is not set")
    directories = [templates] if name is None else [templates / name, templates]
    for directory in directories:
        if not directory.is_dir():
            raise TemplateError(f"{directory}: there is no such directory")
    return [str(directory.absolute()) for directory in directories]


def _values(
    content: Content, recording: Recording, profile: Profile, waveform_cid: str, attached: bool
) -> dict[str, Any]:
    """Return the variables of templates, which docs/mail.md, "Templates", lists."""

    def line(value: str | None) -> str:
        return sanitize_line(value or "", _MAX_VALUE)

    verdict = recording.verdict
    return {
        "subject": content.subject,
        "title": content.title,
        "summary": content.summary,
        "warning": content.warning,
        "facts": [{"label": label, "value": value} for label, value in content.facts],
        "introduction": content.introduction,
        "url": content.url,
        "button": content.button,
        "language": content.language,
        "attached": attached,
        "waveform_cid": waveform_cid,
        "waveform_description": content.waveform_description,
        "recording": {
            "id": str(recording.id),
            "call_id": "" if recording.call_id is None else str(recording.call_id),
            "from": line(recording.from_),
            "from_name": line(recording.from_name),
            "to": line(recording.to),
            "remote_sip_uri": line(recording.remote_sip_uri),
            "started_at": (recording.started_at or recording.created_at).isoformat(),
            "duration": recording.duration,
            "format": recording.format,
            "size": recording.size,
            "sha256": recording.sha256 or "",
            "reasons": [] if verdict is None or verdict.ok else [line(reason) for reason in verdict.reasons],
            "metadata": recording.metadata,
        },
        "profile": {"id": str(profile.id), "name": line(profile.name), "metadata": profile.metadata},
    }


def _run(directories: list[str], language: str, values: Mapping[str, Any]) -> dict[str, str]:
    """Return the texts that have a template, by name."""
    files = {"subject": ("subject", "txt"), "text": ("message", "txt"), "html": ("message", "html")}
    names = {text: [f"{stem}.{language}.{suffix}", f"{stem}.{suffix}"] for text, (stem, suffix) in files.items()}
    request = {"directories": directories, "templates": names, "values": values}
    try:
        process = subprocess.run(
            [sys.executable, "-P", "-m", "voxrec.mail.template_process"],
            input=json.dumps(request).encode(),
            capture_output=True,
            check=False,
            timeout=_TIME_LIMIT,
            env={name: os.environ[name] for name in _PASSED_ON if name in os.environ},
            cwd="/",
        )
    except subprocess.TimeoutExpired as error:
        raise TemplateError(f"{_last_line(error.stderr)}: it takes more than {_TIME_LIMIT:g} s") from None
    except OSError as error:
        raise TemplateError(f"{directories[0]}: the templates cannot be rendered: {error}") from error
    if process.returncode < 0:  # a signal
        raise TemplateError(f"{_last_line(process.stderr)}: it needs too much time or memory")
    if process.returncode != 0:
        raise TemplateError(f"{directories[0]}: the templates cannot be rendered: {_last_line(process.stderr)}")
    response = json.loads(process.stdout)
    if failure := response.get("error"):
        place = failure["file"] if failure["line"] is None else f"{failure['file']} line {failure['line']}"
        raise TemplateError(sanitize_line(f"{place}: {failure['reason']}"))
    # a template can contain half of a surrogate pair, which no mail can
    return {name: text.encode("utf-8", "replace").decode() for name, text in response["texts"].items()}


def _last_line(output: bytes | None) -> str:
    """Return the last line of the process's standard error: the template that it renders, or its error."""
    return sanitize_line((output or b"").decode("utf-8", "replace").strip().rpartition("\n")[2])
