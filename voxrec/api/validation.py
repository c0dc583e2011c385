"""What a Profile must satisfy beyond its types: what this installation allows and has."""

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from typing import Any
from uuid import UUID

from voxrec import sipuri
from voxrec.audio.formats import FORMATS
from voxrec.errors import FieldError
from voxrec.model import Profile, RecordChannels

PromptExists = Callable[[UUID], Awaitable[bool]]


class ProfileRules:
    """The rules of one installation.

    They hold for what is given now: a Profile that was made under other settings can still be changed elsewhere.
    """

    def __init__(self, allowed_hosts: tuple[str, ...], formats: Collection[str], prompt_exists: PromptExists) -> None:
        self._allowed_hosts = allowed_hosts
        self._formats = formats
        self._prompt_exists = prompt_exists

    async def field_errors(self, values: Mapping[str, Any]) -> list[FieldError]:
        """What is wrong with fields of a Profile, by attribute, whose types are right."""
        field_errors = [*self._uri(values), *format_errors("recordFormat", values.get("record_format"), self._formats)]
        field_errors += version_errors("id", values.get("id"))
        prompt = values.get("record_prompt_custom_id")
        if wrong := version_errors("recordPromptCustomId", prompt):
            return [*field_errors, *wrong]
        if prompt is not None and not await self._prompt_exists(prompt):
            field_errors.append(FieldError("recordPromptCustomId", f"there is no prompt {prompt}"))
        return field_errors

    def _uri(self, values: Mapping[str, Any]) -> Iterator[FieldError]:
        try:
            host = sipuri.parse(values.get("remote_sip_uri") or "").host
        except sipuri.SipUriError:
            return  # the Profile itself says why
        if not sipuri.is_host_allowed(host, self._allowed_hosts):
            yield FieldError("remoteSipUri", f"the host {host!r} may not be called; the configuration says which may")


def channel_errors(given: Collection[str], profile: Profile) -> list[FieldError]:
    """Whether what is given, by attribute, makes a Profile want both sides apart in a format of one channel."""
    form = FORMATS.get(profile.record_format)
    wanted = {"record_format", "record_channels"}.intersection(given)
    if not wanted or form is None or form.channels > 1 or profile.record_channels is not RecordChannels.DUAL:
        return []
    able = ", ".join(name for name, known in FORMATS.items() if known.channels > 1)
    return [
        FieldError("recordFormat", f"{form.name!r} holds one channel; with recordChannels dual it is one of {able}"),
        FieldError("recordChannels", f"dual does not go with recordFormat {form.name!r}, which holds one channel"),
    ]


def format_errors(field: str, given: str | None, formats: Collection[str]) -> list[FieldError]:
    """Whether a format has a name that is known here."""
    if given is None or given in formats:
        return []
    return [FieldError(field, f"{given!r} is not known; known are {', '.join(formats)}")]


def version_errors(field: str, given: UUID | None) -> list[FieldError]:
    """Whether an id that a client chose is random (RFC 9562 section 5.4): others tell when and where they were made."""
    if given is None or given.version == 4:
        return []
    return [FieldError(field, f"{given} is not a UUID of version 4")]
