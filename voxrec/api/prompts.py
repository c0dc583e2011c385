"""/prompts: custom announcements, and the audio that they play."""

from collections.abc import Mapping
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import msgspec

from voxrec.api.audio_uploads import ACCEPTED_TYPES, NotAudio, inspect_audio, require_audio_upload
from voxrec.api.validation import uuid4_errors
from voxrec.audio.formats import FORMATS, media_type_of
from voxrec.conversion import convert_fields
from voxrec.errors import Conflict, NotFound
from voxrec.model import Prompt
from voxrec.store.prompts import ALL_PROMPTS, PromptAudio, PromptFilter, Prompts
from voxrec.threads import DeferToThread
from voxrec.web import query
from voxrec.web.auth import Role
from voxrec.web.conditions import etag_of
from voxrec.web.pagination import LINK, PAGED, Paginator
from voxrec.web.partial_update import PartialUpdate, require
from voxrec.web.request import Now, Request
from voxrec.web.response import Response, conditional_get, created, no_content, updated
from voxrec.web.route import CONDITIONAL, ETAG, JsonBody, Route

MAX_UPLOAD_SIZE: Final = 10 * 1024 * 1024  # bytes of an announcement as it is uploaded
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
        changing = partial(Route, response_model=Prompt, request_headers=CONDITIONAL, response_headers=ETAG)
        return (
            Route(
                "GET",
                "/prompts",
                Role.READ,
                self._list,
                response_model=list[Prompt],
                query=PAGED,
                response_headers=LINK,
            ),
            Route(
                *("PUT", "/prompts", Role.PROVISION, self._create),
                body=JsonBody(Prompt, refuse=_OURS),
                response_model=Prompt,
                idempotent=True,
                response_headers=("ETag", "Location"),
                errors=(Conflict,),
            ),
            Route(
                "GET",
                one,
                Role.READ,
                self._show,
                response_model=Prompt,
                request_headers=CONDITIONAL,
                response_headers=ETAG,
            ),
            changing("PUT", one, Role.PROVISION, self._change, body=JsonBody(Prompt, refuse=_OURS | {"id"})),
            Route("DELETE", one, Role.PROVISION, self._delete, request_headers=CONDITIONAL, errors=(Conflict,)),
            Route(
                "GET",
                audio,
                Role.READ,
                self._listen,
                None,
                response_model=kinds,
                request_headers=CONDITIONAL,
                response_headers=ETAG,
            ),
            changing(
                *("PUT", audio, Role.PROVISION, self._put_audio),
                upload=MAX_UPLOAD_SIZE,
                body=ACCEPTED_TYPES,
                errors=(NotAudio,),
            ),
            Route("DELETE", audio, Role.PROVISION, self._delete_audio, request_headers=CONDITIONAL, errors=(Conflict,)),
        )

    async def _list(self, request: Request) -> Response:
        return await self._listing.asked(request, {}, _wanted)

    async def _create(self, request: Request) -> Response:
        query.read(request.query(), {})
        values, field_errors = convert_fields(Prompt, request.json_object(), read_only=_OURS)
        now = self._now()
        require([*field_errors, *uuid4_errors("id", values.get("id"))])
        prompt = Prompt(**{"id": uuid4(), "created_at": now, "updated_at": now, **values})
        return self._told(await self._prompts.create(prompt, request.transaction_hook(self._told)))

    def _told(self, stored: Prompt) -> Response:
        return created(f"{self._public_url}/prompts/{stored.id}", representation(stored))

    async def _show(self, request: Request) -> Response:
        query.read(request.query(), {})
        return conditional_get(request.conditions, representation(await self._prompts.get(request.id)))

    async def _change(self, request: Request) -> Response:
        query.read(request.query(), {})
        edit = PartialUpdate.of(Prompt, request.json_object(), _OURS | {"id"})
        return updated(representation(await self._prompts.update(request.id, partial(self._edited, request, edit))))

    def _edited(self, request: Request, edit: PartialUpdate[Prompt], current: Prompt) -> Prompt:
        """What becomes of a Prompt that nobody else can change now. PUT replaces: no name given is no name."""
        before = representation(current)
        request.conditions.require(etag_of(before))
        after, field_errors = edit.apply(msgspec.structs.replace(current, name=None), before)
        require(field_errors)
        request.audit_details.changed(current, after)
        return current if after == current else self._touched(after)

    async def _delete(self, request: Request) -> Response:
        query.read(request.query(), {})
        await self._prompts.delete(request.id, partial(_require_version, request))
        return no_content()

    async def _listen(self, request: Request) -> Response:
        query.read(request.query(), {})
        prompt = await self._prompts.get(request.id)
        if prompt.sha256 is None:
            raise NotFound(f"Prompt {prompt.id} has no audio yet.")
        audio = await self._prompts.audio(request.id)
        etag = f'"{audio.sha256}"'
        request.conditions.require_readable(etag)
        if request.conditions.unchanged(etag):
            return Response(304, {"ETag": etag})
        return Response(200, {"Content-Type": media_type_of(audio.container), "ETag": etag}, audio.content)

    async def _put_audio(self, request: Request) -> Response:
        query.read(request.query(), {})
        upload = require_audio_upload(request)
        _require_version(request, await self._prompts.get(request.id))
        audio, seconds = await self._defer_to_thread(_read, upload.path)
        stored = await self._prompts.put_audio(request.id, audio, partial(self._given_audio, request, seconds))
        return updated(representation(stored))

    def _given_audio(self, request: Request, seconds: float, current: Prompt) -> Prompt:
        _require_version(request, current)
        return self._touched(msgspec.structs.replace(current, duration=seconds))

    async def _delete_audio(self, request: Request) -> Response:
        query.read(request.query(), {})
        await self._prompts.delete_audio(request.id, partial(self._bared, request))
        return no_content()

    def _bared(self, request: Request, current: Prompt) -> Prompt:
        _require_version(request, current)
        if current.sha256 is None:
            raise NotFound(f"Prompt {current.id} has no audio.")
        return self._touched(current)

    def _touched(self, prompt: Prompt) -> Prompt:
        return msgspec.structs.replace(prompt, updated_at=max(prompt.updated_at, self._now()))


def representation(prompt: Prompt) -> bytes:
    """A Prompt as REST shows it."""
    return msgspec.json.encode(prompt, order="deterministic")


def _read(path: Path) -> tuple[PromptAudio, float]:
    info, seconds = inspect_audio(path, _CHANNELS, LONGEST)
    content = path.read_bytes()
    return PromptAudio(info.container, sha256(content).hexdigest(), content), seconds


def _require_version(request: Request, current: Prompt) -> None:
    request.conditions.require(etag_of(representation(current)))


def _wanted(_: Mapping[str, Any]) -> PromptFilter:
    return ALL_PROMPTS
