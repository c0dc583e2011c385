"""/prompts: custom announcements, and the audio that they play."""

from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec

from voxrec.api.audio_uploads import ACCEPTED_TYPES, NotAudio, inspect_audio
from voxrec.api.clock import UtcNow
from voxrec.api.resources import initial_values
from voxrec.api.transaction_hooks import transaction_hook
from voxrec.api.validation import validate_id
from voxrec.audio.formats import FORMATS, media_type_of
from voxrec.errors import Conflict, NotFound
from voxrec.model import Prompt
from voxrec.store.prompts import ALL_PROMPTS, PromptAudio, Prompts
from voxrec.threads import DeferToThread
from voxrec.web.auth import Role
from voxrec.web.body import FileBody, JsonBody, PartialUpdateBody
from voxrec.web.conditions import etag_of
from voxrec.web.pagination import LINK, PAGINATION, Paginator
from voxrec.web.partial_update import PartialUpdate
from voxrec.web.request import Request, Upload
from voxrec.web.response import Response, conditional_get, created, no_content, updated
from voxrec.web.route import CONDITIONAL, ETAG, Route

MAX_UPLOAD_SIZE: Final = 10 * 1024 * 1024  # bytes of an announcement as it is uploaded
LONGEST: Final = 600.0  # seconds
_CHANNELS: Final = 8
_OURS: Final = frozenset({"createdAt", "updatedAt", "duration", "size", "sha256"})


class PromptRoutes:
    """The routes of Prompts, their collection and their audio."""

    def __init__(self, prompts: Prompts, public_url: str, now: UtcNow, defer_to_thread: DeferToThread) -> None:
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
                query=PAGINATION,
                response_headers=LINK,
            ),
            Route(
                *("PUT", "/prompts", Role.PROVISION, self._create),
                body=JsonBody(
                    Prompt,
                    read_only=_OURS,
                    initial_values=partial(initial_values, self._now),
                    value_validators=(validate_id,),
                ),
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
            changing(
                "PUT", one, Role.PROVISION, self._change, body=PartialUpdateBody(Prompt, read_only=_OURS | {"id"})
            ),
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
                body=FileBody(ACCEPTED_TYPES, MAX_UPLOAD_SIZE),
                errors=(NotAudio,),
            ),
            Route("DELETE", audio, Role.PROVISION, self._delete_audio, request_headers=CONDITIONAL, errors=(Conflict,)),
        )

    async def _list(self, request: Request) -> Response:
        return await self._listing.respond(request, ALL_PROMPTS)

    async def _create(self, request: Request) -> Response:
        prompt: Prompt = request.body
        return self._told(await self._prompts.create(prompt, transaction_hook(request, self._told)))

    def _told(self, stored: Prompt) -> Response:
        return created(f"{self._public_url}/prompts/{stored.id}", representation(stored))

    async def _show(self, request: Request) -> Response:
        return conditional_get(request.conditions, representation(await self._prompts.get(request.id)))

    async def _change(self, request: Request) -> Response:
        return updated(representation(await self._prompts.update(request.id, partial(self._edited, request))))

    def _edited(self, request: Request, current: Prompt) -> Prompt:
        """What becomes of a Prompt that nobody else can change now. PUT replaces: no name given is no name."""
        before = representation(current)
        request.conditions.require(etag_of(before))
        update: PartialUpdate[Prompt] = request.body
        after = update.apply(msgspec.structs.replace(current, name=None), before)
        request.audit_details.changed(current, after)
        return current if after == current else self._touched(after)

    async def _delete(self, request: Request) -> Response:
        await self._prompts.delete(request.id, partial(_require_version, request))
        return no_content()

    async def _listen(self, request: Request) -> Response:
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
        upload: Upload = request.body
        _require_version(request, await self._prompts.get(request.id))
        audio, seconds = await self._defer_to_thread(_read, upload.path)
        stored = await self._prompts.put_audio(request.id, audio, partial(self._given_audio, request, seconds))
        return updated(representation(stored))

    def _given_audio(self, request: Request, seconds: float, current: Prompt) -> Prompt:
        _require_version(request, current)
        return self._touched(msgspec.structs.replace(current, duration=seconds))

    async def _delete_audio(self, request: Request) -> Response:
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
