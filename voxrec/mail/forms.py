"""The forms of the mail about a recording, from the most complete one to the smallest."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from enum import Enum, auto
from pathlib import Path
from typing import Final

import msgspec
from twisted.logger import Logger

from voxrec.audio.convert import convert
from voxrec.audio.formats import FORMATS
from voxrec.errors import AudioError
from voxrec.mail.content import ListeningLink
from voxrec.mail.message import MessageDefaults, compose
from voxrec.model import MailContent, Profile, Recording

_log: Final = Logger()


class Form(Enum):
    """``ORIGINAL``: the audio is attached. ``COPY``: a smaller copy is. ``LINK``: none is; also that of a notice."""

    ORIGINAL = auto()
    COPY = auto()
    LINK = auto()


def forms_for(profile: Profile, recording: Recording, defaults: MessageDefaults) -> Sequence[Form]:
    """Return the forms to try for a Profile, until one is not too large. The last one is never."""
    if profile.mail_content is not MailContent.ATTACHMENT:
        return (Form.LINK,)
    if defaults.copy_format in ("", recording.format):
        return (Form.ORIGINAL, Form.LINK)
    return tuple(Form)


def compose_form(
    form: Form,
    recording: Recording,
    profile: Profile,
    audio: Path,
    link: ListeningLink | None,
    defaults: MessageDefaults,
    now: datetime,
) -> bytes | None:
    """Return the message, or None if the audio is too large for the form. Blocks: run it in a thread.

    Raises OSError if the audio cannot be read.
    """
    if form is Form.LINK:
        return compose(recording, profile, audio, link, replace(defaults, attach_limit=-1), now)
    size = audio.stat().st_size
    if form is Form.COPY:
        return _compose_copy(recording, profile, audio, link, defaults, now)
    return compose(recording, profile, audio, link, defaults, now) if size <= defaults.attach_limit else None


def _compose_copy(
    recording: Recording,
    profile: Profile,
    audio: Path,
    link: ListeningLink | None,
    defaults: MessageDefaults,
    now: datetime,
) -> bytes | None:
    audio_format, size = FORMATS[defaults.copy_format], audio.stat().st_size
    try:
        with tempfile.TemporaryDirectory(prefix="voxrec-mail-") as directory:
            copy = Path(directory, f"copy.{audio_format.suffix}")
            convert(audio, copy, audio_format, source_format=FORMATS.get(recording.format))
            if copy.stat().st_size > min(defaults.attach_limit, size):
                return None
            described = msgspec.structs.replace(recording, format=audio_format.name)
            return compose(described, profile, copy, link, defaults, now, original_size=size)
    except (AudioError, OSError) as error:  # such as a full disk: the mail is sent with the link
        _log.warn("no copy of recording {id} can be made for a mail: {error}", id=recording.id, error=error)
        return None
