"""/jobs: what is still owed to Recordings, and what was given up and why."""

from collections.abc import Mapping
from functools import partial
from typing import Any, Final, Literal

import msgspec
from msgspec.structs import fields

from voxrec.errors import Conflict
from voxrec.model import Job, JobKind, JobState
from voxrec.store.jobs import JobFilter, Jobs
from voxrec.web.auth import Role, Scoped
from voxrec.web.body import JsonBody
from voxrec.web.conditions import etag_of
from voxrec.web.pagination import LINK, PAGINATION, Paginator
from voxrec.web.parameters import some_of, uuid
from voxrec.web.query import QueryParameter
from voxrec.web.request import Request
from voxrec.web.response import Response, conditional_get, no_content, updated
from voxrec.web.route import CONDITIONAL, ETAG, Route

_UNDONE: Final = tuple(state for state in JobState if state is not JobState.DONE)
_INTERNAL: Final = frozenset({"path", "claims"})
_CHANGE: Final[Any] = msgspec.defstruct("Job", [("state", Literal["pending"])])
SHOWN: Final[Any] = msgspec.defstruct(
    "Job",
    [(f.name, f.type, msgspec.field(name=f.encode_name)) for f in fields(Job) if f.name not in _INTERNAL],
    namespace={
        "__doc__": """One step owed to a Recording: finishing its files, mailing it, erasing what was deleted.

        ``attempts`` counts those begun since it came, or was started again; ``lastError`` is why the last one failed.
        """
    },
)


class JobRoutes:
    """What is owed to Recordings. What is done is in no list, and can be looked at by its id."""

    def __init__(self, jobs: Scoped[Jobs], public_url: str) -> None:
        self._jobs = jobs
        self._public_url = public_url

    def routes(self) -> tuple[Route, ...]:
        """The route table."""
        route = partial(Route, profile_scoped=True)
        return (
            route(
                *("GET", "/jobs", Role.READ, self._list),
                response_model=list[SHOWN],
                query=_FILTERS | PAGINATION,
                response_headers=LINK,
            ),
            route(
                "GET",
                "/jobs/<id>",
                Role.READ,
                self._show,
                response_model=SHOWN,
                request_headers=CONDITIONAL,
                response_headers=ETAG,
            ),
            route(
                *("POST", "/jobs/<id>", Role.PROVISION, self._restart),
                body=JsonBody(_CHANGE, required=frozenset({"state"})),
                response_model=SHOWN,
                request_headers=CONDITIONAL,
                response_headers=ETAG,
                errors=(Conflict,),
                summary="Start a job again",
            ),
            route(
                *("DELETE", "/jobs/<id>", Role.PROVISION, self._drop),
                request_headers=CONDITIONAL,
                errors=(Conflict,),
                summary="Give up a dead job for good",
            ),
        )

    async def _list(self, request: Request) -> Response:
        listing = Paginator(self._jobs.visible_to(request.principal), _representation, self._public_url)
        return await listing.respond(request, _filter(request.query))

    async def _show(self, request: Request) -> Response:
        return conditional_get(
            request.conditions, _representation(await self._jobs.visible_to(request.principal).get(request.id))
        )

    async def _restart(self, request: Request) -> Response:
        """Try a dead job, or one that waits, at once and as if for the first time; whoever refused a mail gets it."""
        return updated(
            _representation(
                await self._jobs.visible_to(request.principal).restart(request.id, partial(_require_same, request))
            )
        )

    async def _drop(self, request: Request) -> Response:
        """What it was to do stays undone. A Recording that is not finished yet cannot do without its job."""
        await self._jobs.visible_to(request.principal).delete(request.id, partial(_require_same, request))
        return no_content()


def _representation(job: Job) -> bytes:
    told = msgspec.to_builtins(job, order="deterministic")
    return msgspec.json.encode({key: value for key, value in told.items() if key not in _INTERNAL})


def _require_same(request: Request, job: Job) -> None:
    request.conditions.require(etag_of(_representation(job)))


def _filter(query: Mapping[str, Any]) -> JobFilter:
    return JobFilter(kinds=query.get("kind", ()), states=query.get("state", ()), recording_id=query.get("recordingId"))


_FILTERS: Final[dict[str, QueryParameter[Any]]] = {
    "state": some_of(_UNDONE, "States of a job.", example="dead"),
    "kind": some_of([*JobKind], "Kinds of work.", example="mail"),
    "recordingId": uuid("Id of the Recording."),
}
