"""What a Profile must satisfy beyond its types: what this installation allows and has."""

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from typing import Any
from uuid import UUID

from voxrec import sipuri
from voxrec.audio.formats import FORMATS
from voxrec.errors import FieldFault
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

    async def faults(self, values: Mapping[str, Any]) -> list[FieldFault]:
        """What is wrong with fields of a Profile, by attribute, whose types are right."""
        faults = [*self._uri(values), *format_faults("recordFormat", values.get("record_format"), self._formats)]
        faults += version_faults("id", values.get("id"))
        prompt = values.get("record_prompt_custom_id")
        if wrong := version_faults("recordPromptCustomId", prompt):
            return [*faults, *wrong]
        if prompt is not None and not await self._prompt_exists(prompt):
            faults.append(FieldFault("recordPromptCustomId", f"there is no prompt {prompt}"))
        return faults

    def _uri(self, values: Mapping[str, Any]) -> Iterator[FieldFault]:
        try:
            host = sipuri.parse(values.get("remote_sip_uri") or "").host
        except sipuri.SipUriError:
            return  # the Profile itself says why
        if not sipuri.host_allowed(host, self._allowed_hosts):
            yield FieldFault("remoteSipUri", f"the host {host!r} may not be called; the configuration says which may")


def channel_faults(given: Collection[str], profile: Profile) -> list[FieldFault]:
    """Whether what is given, by attribute, makes a Profile want both sides apart in a format of one channel."""
    form = FORMATS.get(profile.record_format)
    wanted = {"record_format", "record_channels"}.intersection(given)
    if not wanted or form is None or form.channels > 1 or profile.record_channels is not RecordChannels.DUAL:
        return []
    able = ", ".join(name for name, known in FORMATS.items() if known.channels > 1)
    return [
        FieldFault("recordFormat", f"{form.name!r} holds one channel; with recordChannels dual it is one of {able}"),
        FieldFault("recordChannels", f"dual does not go with recordFormat {form.name!r}, which holds one channel"),
    ]


def format_faults(field: str, given: str | None, formats: Collection[str]) -> list[FieldFault]:
    """Whether a format has a name that is known here."""
    if given is None or given in formats:
        return []
    return [FieldFault(field, f"{given!r} is not known; known are {', '.join(formats)}")]


def version_faults(field: str, given: UUID | None) -> list[FieldFault]:
    """Whether an id that a client chose is random (RFC 9562 section 5.4): others tell when and where they were made."""
    if given is None or given.version == 4:
        return []
    return [FieldFault(field, f"{given} is not a UUID of version 4")]
