"""/prompts: custom announcements, and their audio."""

from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec

from voxrec.api.audio.audio_files import AUDIO_TYPES
from voxrec.api.audio.audio_inspection import ACCEPTED_TYPES, NotAudio, inspect_audio
from voxrec.api.field_validation import validate_id
from voxrec.api.resources import Representation, apply_update, encode_resource, initial_values, touched
from voxrec.api.transaction_hooks import transaction_hook
from voxrec.audio.formats import media_type_of
from voxrec.clock import UtcNow
from voxrec.error_codes import ProblemReason
from voxrec.errors import Conflict, NotFound
from voxrec.model import Prompt
from voxrec.store.prompts import ALL_PROMPTS, PromptAudio, Prompts
from voxrec.threads import DeferToThread
from voxrec.web.auth import Role
from voxrec.web.body import FileBody, JsonBody, PartialUpdateBody
from voxrec.web.errors import RangeNotSatisfiable
from voxrec.web.pagination import LINK, PAGINATION, Paginator
from voxrec.web.partial_update import PartialUpdate
from voxrec.web.ranges import requested_range
from voxrec.web.request import Request, Upload
from voxrec.web.response import Response, no_content, not_modified
from voxrec.web.route import CONDITIONAL, ETAG, Route

MAX_UPLOAD_SIZE: Final = 10 * 1024 * 1024  # bytes
_MAX_DURATION: Final = 600.0  # seconds
_MAX_CHANNELS: Final = 8
_READ_ONLY: Final = frozenset({"createdAt", "updatedAt", "duration", "size", "sha256"})


_REPRESENTATION: Final[Representation[Prompt]] = Representation(encode_resource)


class PromptRoutes:
    """Prompts: custom announcements that Profiles refer to by `recordPromptCustomId`."""

    def __init__(self, prompts: Prompts, public_url: str, now: UtcNow, defer_to_thread: DeferToThread) -> None:
        self._prompts = prompts
        self._public_url = public_url
        self._now = now
        self._defer_to_thread = defer_to_thread
        self._paginator = Paginator(prompts, encode_resource, public_url)

    def routes(self) -> tuple[Route, ...]:
        """Return the routes."""
        prompt_path, audio_path = "/prompts/<id>", "/prompts/<id>/audio"
        conditional = partial(Route, request_headers=CONDITIONAL)
        with_representation = partial(conditional, response_model=Prompt, response_headers=ETAG)
        return (
            Route(
                *("GET", "/prompts", Role.READ, self._list),
                response_model=list[Prompt],
                query=PAGINATION,
                response_headers=LINK,
            ),
            Route(
                *("PUT", "/prompts", Role.PROVISION, self._create),
                body=JsonBody(
                    Prompt,
                    read_only=_READ_ONLY,
                    initial_values=partial(initial_values, self._now),
                    value_validators=(validate_id,),
                ),
                response_model=Prompt,
                idempotent=True,
                response_headers=("ETag", "Location"),
                errors=(Conflict,),
            ),
            with_representation("GET", prompt_path, Role.READ, self._get),
            with_representation(
                *("PUT", prompt_path, Role.PROVISION, self._replace),
                body=PartialUpdateBody(Prompt, read_only=_READ_ONLY | {"id"}),
                idempotent=True,
            ),
            conditional("DELETE", prompt_path, Role.PROVISION, self._delete, errors=(Conflict,)),
            Route(
                *("GET", audio_path, Role.READ, self._download_audio, None),
                response_model=AUDIO_TYPES,
                responses={206: None},
                request_headers=(*CONDITIONAL, "Range", "If-Range"),
                response_headers=("ETag", "Accept-Ranges"),
                errors=(RangeNotSatisfiable,),
                summary="Download the audio of a prompt",
            ),
            with_representation(
                *("PUT", audio_path, Role.PROVISION, self._upload_audio),
                body=FileBody(ACCEPTED_TYPES, MAX_UPLOAD_SIZE),
                errors=(NotAudio,),
                idempotent=True,
                summary="Upload the audio of a prompt",
            ),
            conditional("DELETE", audio_path, Role.PROVISION, self._delete_audio, errors=(Conflict,)),
        )

    async def _list(self, request: Request) -> Response:
        return await self._paginator.respond(request, ALL_PROMPTS)

    async def _create(self, request: Request) -> Response:
        """Upload the audio afterwards. A client may choose the `id`, which must be a UUID of version 4."""
        return self._created(await self._prompts.create(request.body, transaction_hook(request, self._created)))

    def _created(self, stored: Prompt) -> Response:
        return _REPRESENTATION.created(stored, f"{self._public_url}/prompts/{stored.id}")

    async def _get(self, request: Request) -> Response:
        return _REPRESENTATION.retrieved(request, await self._prompts.get(request.id))

    async def _replace(self, request: Request) -> Response:
        """Without `name`, the prompt has no name afterwards. The audio is not changed."""
        hook = transaction_hook(request, _REPRESENTATION.updated)
        stored = await self._prompts.update(request.id, partial(self._apply_update, request), hook)
        return _REPRESENTATION.updated(stored)

    def _apply_update(self, request: Request, current: Prompt) -> Prompt:
        update: PartialUpdate[Prompt] = request.body
        replacement = replace(update, values={"name": None, **update.values})
        return apply_update(request, replacement, current, _REPRESENTATION, self._now)

    async def _delete(self, request: Request) -> Response:
        """A prompt that a profile uses cannot be deleted."""
        await self._prompts.delete(request.id, partial(_REPRESENTATION.require_version, request))
        return no_content()

    async def _download_audio(self, request: Request) -> Response:
        prompt = await self._prompts.get(request.id)
        if prompt.sha256 is None:
            raise NotFound(f"Prompt {prompt.id} has no audio.")
        audio = await self._prompts.audio(request.id)
        etag = f'"{audio.sha256}"'
        if (unchanged := not_modified(request.conditions, etag)) is not None:
            return unchanged
        headers = {"Content-Type": media_type_of(audio.container), "ETag": etag, "Accept-Ranges": "bytes"}
        sent = requested_range(request, etag, len(audio.content))
        if sent is None:
            return Response(200, headers, audio.content)
        content = audio.content[sent.start : sent.start + sent.length]
        return Response(206, {**headers, "Content-Range": sent.content_range}, content)

    async def _upload_audio(self, request: Request) -> Response:
        """Earlier audio is replaced. New calls use the new audio. `If-Match` names a version of the prompt."""
        upload: Upload = request.body
        _REPRESENTATION.require_version(request, await self._prompts.get(request.id))
        audio, duration = await self._defer_to_thread(_read_audio, upload.path)
        change = partial(self._with_duration, request, duration)
        hook = transaction_hook(request, _REPRESENTATION.updated)
        stored = await self._prompts.put_audio(request.id, audio, change, hook)
        return _REPRESENTATION.updated(stored)

    def _with_duration(self, request: Request, duration: float, current: Prompt) -> Prompt:
        _REPRESENTATION.require_version(request, current)
        return touched(msgspec.structs.replace(current, duration=duration), self._now)

    async def _delete_audio(self, request: Request) -> Response:
        """The audio of a prompt that a profile uses cannot be deleted. `If-Match` names a version of the prompt."""
        await self._prompts.delete_audio(request.id, partial(self._without_audio, request))
        return no_content()

    def _without_audio(self, request: Request, current: Prompt) -> Prompt:
        _REPRESENTATION.require_version(request, current)
        if current.sha256 is None:
            raise NotFound(f"Prompt {current.id} has no audio.")
        return touched(current, self._now)


def _read_audio(path: Path) -> tuple[PromptAudio, float]:
    """Return the audio of a file and its duration in seconds. Blocks: run it in a thread. Raises NotAudio."""
    audio = inspect_audio(path, _MAX_CHANNELS, _MAX_DURATION)
    if audio.truncated:
        detail = "The uploaded audio is truncated: the file ends before the end of its audio."
        raise NotAudio(detail, reason=ProblemReason.AUDIO_TRUNCATED)
    content = path.read_bytes()
    return PromptAudio(audio.info.container, sha256(content).hexdigest(), content), audio.duration
