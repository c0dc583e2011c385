"""/recordings/<id>/neighbors: the previous and the next Recording in a list."""

from functools import partial
from typing import Annotated, Final
from uuid import UUID

from msgspec import Struct

from voxrec.api.recordings.recording_query import FILTERS, ORDER, recording_filter
from voxrec.errors import NotFound
from voxrec.model.fields import doc
from voxrec.store.recordings import Recordings
from voxrec.web.auth import Role, Scoped
from voxrec.web.request import Request
from voxrec.web.response import Response, json_response
from voxrec.web.route import Route

_PATHS: Final = ("/recordings/<id>/neighbors", "/profiles/<profileId>/recordings/<id>/neighbors")


class RecordingNeighbors(Struct, frozen=True, kw_only=True, rename="camel"):
    """The recordings before and after one in a list."""

    previous: Annotated[UUID | None, doc("Id of the recording before it. Null: it is the first one.")]
    next: Annotated[UUID | None, doc("Id of the recording after it. Null: it is the last one.")]


class RecordingNeighborRoutes:
    """The neighbors of a Recording in a list."""

    def __init__(self, recordings: Scoped[Recordings]) -> None:
        self._recordings = recordings

    def routes(self) -> tuple[Route, ...]:
        """Return the routes."""
        route = partial(
            Route,
            profile_scoped=True,
            tag="recordings",
            response_model=RecordingNeighbors,
            query=FILTERS | ORDER,
            summary="Get the previous and the next recording in a list",
        )
        return tuple(route("GET", path, Role.READ, self._get) for path in _PATHS)

    async def _get(self, request: Request) -> Response:
        """The list is that of `GET /recordings` with the same filters and order. The recording need not be in it."""
        recordings = self._recordings.visible_to(request.principal)
        recording = await recordings.get(request.id)
        profile_id = request.ids.get("profileId")
        if profile_id not in (None, recording.profile_id):
            raise NotFound(f"Profile {profile_id} has no recording {recording.id}.")
        previous, following = await recordings.neighbors(recording, recording_filter(request.query, profile_id))
        return json_response(
            RecordingNeighbors(
                previous=None if previous is None else previous.id, next=None if following is None else following.id
            )
        )
