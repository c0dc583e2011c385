"""/recordings/<id>/notes: what people write about a Recording."""

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from msgspec import Struct

from voxrec.api.resources import Representation, apply_update, encode_resource, initial_values, require_visible
from voxrec.api.transaction_hooks import transaction_hook
from voxrec.clock import UtcNow
from voxrec.error_codes import ProblemReason
from voxrec.errors import FieldError
from voxrec.model import Note, note_errors
from voxrec.model.note import NotePosition, NoteText
from voxrec.store.notes import Notes
from voxrec.store.recordings import Recordings
from voxrec.web.auth import Role, Scoped
from voxrec.web.body import JsonBody, PartialUpdateBody
from voxrec.web.errors import NotAllowed
from voxrec.web.pagination import LINK, PAGINATION, Paginator
from voxrec.web.partial_update import PartialUpdate
from voxrec.web.request import Request
from voxrec.web.response import Response, no_content
from voxrec.web.route import CONDITIONAL, ETAG, Route

_SET_BY_VOXREC: Final = frozenset({"id", "recordingId", "author", "userId", "tokenId", "createdAt", "updatedAt"})


class NoteRequest(Struct, frozen=True, kw_only=True, rename="camel"):
    """A note to create."""

    text: NoteText
    position: NotePosition | None = None


_REPRESENTATION: Final[Representation[Note]] = Representation(encode_resource)


class NoteRoutes:
    """Notes about recordings."""

    def __init__(self, notes: Notes, recordings: Scoped[Recordings], public_url: str, now: UtcNow) -> None:
        self._notes = notes
        self._recordings = recordings
        self._public_url = public_url
        self._now = now

    def routes(self) -> tuple[Route, ...]:
        """Return the routes."""
        route = partial(Route, profile_scoped=True, tag="recordings", guard=require_visible(self._recordings))
        with_representation = partial(route, response_model=Note, request_headers=CONDITIONAL, response_headers=ETAG)
        collection, item = "/recordings/<id>/notes", "/recordings/<id>/notes/<noteId>"
        return (
            route(
                *("GET", collection, Role.READ, self._list),
                response_model=list[Note],
                query=PAGINATION,
                response_headers=LINK,
                summary="List the notes about a recording",
            ),
            route(
                *("POST", collection, Role.SUPERVISE, self._create),
                body=JsonBody(NoteRequest, required=frozenset({"text"}), validators=(_validate,)),
                status=201,
                response_model=Note,
                response_headers=("ETag", "Location"),
                idempotent=True,
                audit_in_transaction=True,
                summary="Create a note",
            ),
            with_representation(*("GET", item, Role.READ, self._get), summary="Get a note"),
            with_representation(
                *("POST", item, Role.SUPERVISE, self._update),
                body=PartialUpdateBody(Note, read_only=_SET_BY_VOXREC, validators=(_validate,)),
                idempotent=True,
                audit_in_transaction=True,
                summary="Change a note",
            ),
            route(
                *("DELETE", item, Role.SUPERVISE, self._delete), request_headers=CONDITIONAL, summary="Delete a note"
            ),
        )

    async def _list(self, request: Request) -> Response:
        """The newest note is the first one."""
        notes = self._notes.of_recording(request.id)
        return await Paginator(notes, encode_resource, self._public_url).respond(request, None)

    async def _create(self, request: Request) -> Response:
        """The author is the user or the token of the request."""
        wanted: NoteRequest = request.body
        principal = request.principal
        note = Note(
            recording_id=request.id,
            text=wanted.text,
            position=wanted.position,
            author=principal.name,
            user_id=principal.user_id,
            token_id=principal.token_id,
            **initial_values(self._now),
        )
        return self._created(await self._notes.create(note, transaction_hook(request, self._created)))

    def _created(self, note: Note) -> Response:
        return _REPRESENTATION.created(note, f"{self._public_url}/recordings/{note.recording_id}/notes/{note.id}")

    async def _get(self, request: Request) -> Response:
        return _REPRESENTATION.retrieved(request, await self._notes.get(request.id, request.ids["noteId"]))

    async def _update(self, request: Request) -> Response:
        """Fields that are not given are not changed. Notes of others require the role `provision`."""
        hook = transaction_hook(request, _REPRESENTATION.updated)
        change = partial(self._apply_update, request)
        return _REPRESENTATION.updated(await self._notes.update(request.id, request.ids["noteId"], change, hook))

    def _apply_update(self, request: Request, current: Note) -> Note:
        _require_author(request, current)
        update: PartialUpdate[Note] = request.body
        return apply_update(request, update, current, _REPRESENTATION, self._now)

    async def _delete(self, request: Request) -> Response:
        """Notes of others require the role `provision`."""
        await self._notes.delete(request.id, request.ids["noteId"], partial(_require_deletable, request))
        return no_content()


def _validate(note: Note | NoteRequest, _values: Mapping[str, Any]) -> list[FieldError]:
    return note_errors(note.text)


def _require_deletable(request: Request, note: Note) -> None:
    _require_author(request, note)
    _REPRESENTATION.require_version(request, note)


def _require_author(request: Request, note: Note) -> None:
    """Raise NotAllowed unless the note is the principal's own, or its role includes PROVISION."""
    if note.author_key != request.principal.key and not request.principal.role.includes(Role.PROVISION):
        detail = f"Note {note.id} is by {note.author}; changing notes of others requires the role provision."
        raise NotAllowed(detail, reason=ProblemReason.NOTE_OF_ANOTHER)
