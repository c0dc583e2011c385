"""/jobs: retrieval, restart and deletion of jobs."""

from collections.abc import Mapping
from functools import partial
from inspect import getdoc
from typing import Any, Final, Literal

import msgspec
from msgspec.structs import fields

from voxrec.api.resources import Representation
from voxrec.errors import Conflict
from voxrec.model import Job, JobKind, JobState
from voxrec.store.jobs import JobFilter, Jobs
from voxrec.web.auth import Role, Scoped
from voxrec.web.body import PartialUpdateBody
from voxrec.web.pagination import LINK, PAGINATION, Paginator
from voxrec.web.parameters import some_of, uuid
from voxrec.web.partial_update import PartialUpdate
from voxrec.web.query import QueryParameter
from voxrec.web.request import Request
from voxrec.web.response import Response, no_content
from voxrec.web.route import CONDITIONAL, ETAG, Route

_INTERNAL_FIELDS: Final = frozenset({"path", "stored_object", "storedObject", "target", "claims"})
_LISTED_STATES: Final = tuple(state for state in JobState if state is not JobState.DONE)
_UpdateModel: Final[Any] = msgspec.defstruct("Job", [("state", Literal["pending", "done"])])
JobModel: Final[Any] = msgspec.defstruct(
    "Job",
    [
        (field.name, field.type, msgspec.field(name=field.encode_name))
        for field in fields(Job)
        if field.name not in _INTERNAL_FIELDS
    ],
    namespace={"__doc__": f"{getdoc(Job)} ``lastError`` is the reason why the last attempt failed."},
)
"""The type of a Job in responses."""
_READ_ONLY: Final = frozenset(JobModel.__struct_encode_fields__) - {"state"}
_FILTERS: Final[dict[str, QueryParameter[Any]]] = {
    "state": some_of(_LISTED_STATES, "Only jobs in these states, separated by commas.", example="dead"),
    "kind": some_of([*JobKind], "Only jobs of these kinds, separated by commas.", example="mail"),
    "recordingId": uuid("Only jobs of this recording."),
}


def _encode(job: Job) -> bytes:
    document = msgspec.to_builtins(job, order="deterministic")
    return msgspec.json.encode({key: value for key, value in document.items() if key not in _INTERNAL_FIELDS})


_REPRESENTATION: Final = Representation(_encode)


class JobRoutes:
    """Jobs: the pending and failed work for recordings. Completed jobs are not listed."""

    def __init__(self, jobs: Scoped[Jobs], public_url: str) -> None:
        self._jobs = jobs
        self._public_url = public_url

    def routes(self) -> tuple[Route, ...]:
        """Return the routes."""
        route = partial(Route, profile_scoped=True)
        with_representation = partial(
            route, response_model=JobModel, request_headers=CONDITIONAL, response_headers=ETAG
        )
        return (
            route(
                *("GET", "/jobs", Role.READ, self._list),
                response_model=list[JobModel],
                query=_FILTERS | PAGINATION,
                response_headers=LINK,
            ),
            with_representation("GET", "/jobs/<id>", Role.READ, self._get),
            with_representation(
                *("POST", "/jobs/<id>", Role.PROVISION, self._change),
                body=PartialUpdateBody(_UpdateModel, read_only=_READ_ONLY, required=frozenset({"state"})),
                errors=(Conflict,),
                summary="Restart a job, or confirm its mails",
            ),
            route(
                *("DELETE", "/jobs/<id>", Role.PROVISION, self._delete),
                request_headers=CONDITIONAL,
                errors=(Conflict,),
                summary="Delete a dead or unconfirmed job",
            ),
        )

    async def _list(self, request: Request) -> Response:
        jobs = self._jobs.visible_to(request.principal)
        return await Paginator(jobs, _encode, self._public_url).respond(request, _job_filter(request.query))

    async def _get(self, request: Request) -> Response:
        return _REPRESENTATION.retrieved(request, await self._jobs.visible_to(request.principal).get(request.id))

    async def _change(self, request: Request) -> Response:
        """The state `pending` attempts a dead, unconfirmed or pending job now, and counts its attempts from zero.

        A mail is sent again to recipients that the mail server refused; by an unconfirmed job, also to those who may
        have received it. The state `done` ends an unconfirmed job: its mails have arrived, and are `delivered`.
        """
        jobs = self._jobs.visible_to(request.principal)
        update: PartialUpdate[Job] = request.body
        change = jobs.confirm if update.values.get("state") == JobState.DONE else jobs.restart
        return _REPRESENTATION.updated(await change(request.id, partial(_require_change, request)))

    async def _delete(self, request: Request) -> Response:
        """The work of the job is not done.

        A job of the kind `finish` cannot be deleted, because its recording would remain unfinished.
        """
        jobs = self._jobs.visible_to(request.principal)
        await jobs.delete(request.id, partial(_REPRESENTATION.require_version, request))
        return no_content()


def _require_change(request: Request, current: Job) -> None:
    """Raise PreconditionFailed, or InvalidInput if the request changes anything but the state."""
    update: PartialUpdate[Job] = request.body
    _REPRESENTATION.require_version(request, current)
    update.apply(current, _encode(current))


def _job_filter(query: Mapping[str, Any]) -> JobFilter:
    return JobFilter(kinds=query.get("kind", ()), states=query.get("state", ()), recording_id=query.get("recordingId"))
