"""/prompts: custom announcements, and the audio that they play."""

from collections.abc import Mapping
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import msgspec

from voxrec.api.audio_uploads import TAKEN, NotAudio, audio_upload, examined
from voxrec.api.validation import version_errors
from voxrec.audio.formats import FORMATS, media_type
from voxrec.conversion import fit
from voxrec.errors import Conflict, NotFound
from voxrec.model import Prompt
from voxrec.store.prompts import EVERY_PROMPT, PromptAudio, PromptFilter, Prompts
from voxrec.threads import DeferToThread
from voxrec.web import query
from voxrec.web.auth import Role
from voxrec.web.conditions import etag_of
from voxrec.web.exchange import (
    CHANGING,
    READING,
    TAG,
    JsonBody,
    Now,
    Request,
    Response,
    Route,
    changed,
    created,
    gone,
    shown,
)
from voxrec.web.pagination import LINK, PAGED, Paginator
from voxrec.web.partial_update import PartialUpdate, require

LARGEST: Final = 10 * 1024 * 1024  # bytes of an announcement as it is uploaded
LONGEST: Final = 600.0  # seconds
_CHANNELS: Final = 8
_OURS: Final = frozenset({"createdAt", "updatedAt", "duration", "size", "sha256"})


class PromptRoutes:
    """The routes of Prompts, their collection and their audio."""

    def __init__(self, prompts: Prompts, public_url: str, now: Now, defer_to_thread: DeferToThread) -> None:
        self._prompts = prompts
        self._public_url = public_url
        self._now = now
        self._defer_to_thread = defer_to_thread
        self._listing = Paginator(prompts, representation, public_url)

    def routes(self) -> tuple[Route, ...]:
        """The route table."""
        one, audio = "/prompts/<id>", "/prompts/<id>/audio"
        kinds = tuple(sorted({*(known.media_type for known in FORMATS.values()), "application/octet-stream"}))
        changing = partial(Route, shows=Prompt, asks=CHANGING, tells=TAG)
        return (
            Route("GET", "/prompts", Role.READ, self._list, shows=list[Prompt], query=PAGED, tells=LINK),
            Route(
                *("PUT", "/prompts", Role.PROVISION, self._create),
                takes=JsonBody(Prompt, refuse=_OURS),
                shows=Prompt,
                once=True,
                tells=("ETag", "Location"),
                fails=(Conflict,),
            ),
            Route("GET", one, Role.READ, self._show, shows=Prompt, asks=READING, tells=TAG),
            changing("PUT", one, Role.PROVISION, self._change, takes=JsonBody(Prompt, refuse=_OURS | {"id"})),
            Route("DELETE", one, Role.PROVISION, self._delete, asks=CHANGING, fails=(Conflict,)),
            Route("GET", audio, Role.READ, self._listen, None, shows=kinds, asks=READING, tells=TAG),
            changing(*("PUT", audio, Role.PROVISION, self._put_audio), upload=LARGEST, takes=TAKEN, fails=(NotAudio,)),
            Route("DELETE", audio, Role.PROVISION, self._delete_audio, asks=CHANGING, fails=(Conflict,)),
        )

    async def _list(self, ask: Request) -> Response:
        return await self._listing.asked(ask, {}, _wanted)

    async def _create(self, ask: Request) -> Response:
        query.read(ask.query(), {})
        values, field_errors = fit(Prompt, ask.json_object(), refuse=_OURS)
        now = self._now()
        require([*field_errors, *version_errors("id", values.get("id"))])
        prompt = Prompt(**{"id": uuid4(), "created_at": now, "updated_at": now, **values})
        return self._told(await self._prompts.create(prompt, ask.along(self._told)))

    def _told(self, stored: Prompt) -> Response:
        return created(f"{self._public_url}/prompts/{stored.id}", representation(stored))

    async def _show(self, ask: Request) -> Response:
        query.read(ask.query(), {})
        return shown(ask, representation(await self._prompts.get(ask.id)))

    async def _change(self, ask: Request) -> Response:
        query.read(ask.query(), {})
        edit = PartialUpdate.of(Prompt, ask.json_object(), _OURS | {"id"})
        return changed(representation(await self._prompts.update(ask.id, partial(self._edited, ask, edit))))

    def _edited(self, ask: Request, edit: PartialUpdate[Prompt], current: Prompt) -> Prompt:
        """What becomes of a Prompt that nobody else can change now. PUT replaces: no name given is no name."""
        before = representation(current)
        ask.conditions.require(etag_of(before))
        after, field_errors = edit.apply(msgspec.structs.replace(current, name=None), before)
        require(field_errors)
        ask.trail.changed(current, after)
        return current if after == current else self._touched(after)

    async def _delete(self, ask: Request) -> Response:
        query.read(ask.query(), {})
        await self._prompts.delete(ask.id, partial(_require_version, ask))
        return gone()

    async def _listen(self, ask: Request) -> Response:
        query.read(ask.query(), {})
        prompt = await self._prompts.get(ask.id)
        if prompt.sha256 is None:
            raise NotFound(f"Prompt {prompt.id} has no audio yet.")
        audio = await self._prompts.audio(ask.id)
        etag = f'"{audio.sha256}"'
        ask.conditions.require_readable(etag)
        if ask.conditions.unchanged(etag):
            return Response(304, {"ETag": etag})
        return Response(200, {"Content-Type": media_type(audio.container), "ETag": etag}, audio.content)

    async def _put_audio(self, ask: Request) -> Response:
        query.read(ask.query(), {})
        upload = audio_upload(ask)
        _require_version(ask, await self._prompts.get(ask.id))
        audio, seconds = await self._defer_to_thread(_read, upload.path)
        stored = await self._prompts.put_audio(ask.id, audio, partial(self._given_audio, ask, seconds))
        return changed(representation(stored))

    def _given_audio(self, ask: Request, seconds: float, current: Prompt) -> Prompt:
        _require_version(ask, current)
        return self._touched(msgspec.structs.replace(current, duration=seconds))

    async def _delete_audio(self, ask: Request) -> Response:
        query.read(ask.query(), {})
        await self._prompts.delete_audio(ask.id, partial(self._bared, ask))
        return gone()

    def _bared(self, ask: Request, current: Prompt) -> Prompt:
        _require_version(ask, current)
        if current.sha256 is None:
            raise NotFound(f"Prompt {current.id} has no audio.")
        return self._touched(current)

    def _touched(self, prompt: Prompt) -> Prompt:
        return msgspec.structs.replace(prompt, updated_at=max(prompt.updated_at, self._now()))


def representation(prompt: Prompt) -> bytes:
    """A Prompt as REST shows it."""
    return msgspec.json.encode(prompt, order="deterministic")


def _read(path: Path) -> tuple[PromptAudio, float]:
    info, seconds = examined(path, _CHANNELS, LONGEST)
    content = path.read_bytes()
    return PromptAudio(info.container, sha256(content).hexdigest(), content), seconds


def _require_version(ask: Request, current: Prompt) -> None:
    ask.conditions.require(etag_of(representation(current)))


def _wanted(_: Mapping[str, Any]) -> PromptFilter:
    return EVERY_PROMPT
