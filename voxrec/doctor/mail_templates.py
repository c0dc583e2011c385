"""Checks the templates of mails, by rendering each with an example."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from uuid import UUID

from voxrec.config import Config
from voxrec.doctor.finding import Finding, ok, warning
from voxrec.mail.content import LANGUAGES
from voxrec.mail.message import MessageDefaults
from voxrec.mail.preview import example_recording, preview
from voxrec.model import Profile

_CHECK: Final = "mail templates"
_URL: Final = "https://voxrec.example/recordings/1/audio"


def check_mail_templates(config: Config) -> Iterator[Finding]:
    """Check the templates of the installation, and each set of a Profile, in each language."""
    if not config.mail.templates:
        return
    directory = Path(config.mail.templates)
    sets = sorted(path.name for path in directory.iterdir() if path.is_dir()) if directory.is_dir() else []
    problems = dict.fromkeys(
        problem
        for name in (None, *sets)
        for language in LANGUAGES.available
        if (problem := _problem(config, directory, name, language))
    )
    for problem in problems:
        yield warning(_CHECK, problem, "correct it; mails are sent in the built-in form until then")
    if not problems:
        yield ok(_CHECK, f"those in {directory} and of {len(sets)} sets are valid")


def _problem(config: Config, directory: Path, name: str | None, language: str) -> str:
    settings, now = config.mail, datetime.now(UTC)
    defaults = MessageDefaults(settings.sender, settings.attach_limit, language=language, templates=directory)
    profile = Profile(id=UUID(int=0), name="Example", mail_template=name, created_at=now, updated_at=now)
    return preview(profile, example_recording(profile, now), _URL, defaults).problem
