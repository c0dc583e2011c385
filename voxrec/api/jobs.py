"""/jobs: what is still owed to Recordings, and what was given up and why."""

from collections.abc import Mapping
from functools import partial
from typing import Any, Final, Literal
from uuid import UUID

import msgspec
from msgspec.structs import fields

from voxrec.conversion import convert_fields
from voxrec.errors import Conflict, FieldError
from voxrec.model import Job, JobKind, JobState
from voxrec.store.jobs import JobFilter, Jobs
from voxrec.web import query
from voxrec.web.auth import Role, Scoped
from voxrec.web.conditions import etag_of
from voxrec.web.pagination import LINK, PAGED, Paginator
from voxrec.web.partial_update import require
from voxrec.web.request import Request
from voxrec.web.response import Response, conditional_get, no_content, updated
from voxrec.web.route import CONDITIONAL, ETAG, JsonBody, Route

_KINDS: Final = "|".join(JobKind)
_UNDONE: Final = tuple(state for state in JobState if state is not JobState.DONE)
_STATES: Final = "|".join(_UNDONE)
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
                query=_FILTERS | PAGED,
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
                body=JsonBody(_CHANGE, require=frozenset({"state"})),
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
        listing = Paginator(self._jobs.of(request.principal), _representation, self._public_url)
        return await listing.asked(request, _FILTERS, _wanted)

    async def _show(self, request: Request) -> Response:
        query.read(request.query(), {})
        return conditional_get(
            request.conditions, _representation(await self._jobs.of(request.principal).get(request.id))
        )

    async def _restart(self, request: Request) -> Response:
        """Try a dead job, or one that waits, at once and as if for the first time; whoever refused a mail gets it."""
        query.read(request.query(), {})
        given = request.json_object()
        _, field_errors = convert_fields(_CHANGE, given)
        if "state" not in given:
            field_errors.append(FieldError("state", "is required"))
        require(field_errors)
        return updated(
            _representation(await self._jobs.of(request.principal).restart(request.id, partial(_require_same, request)))
        )

    async def _drop(self, request: Request) -> Response:
        """What it was to do stays undone. A Recording that is not finished yet cannot do without its job."""
        query.read(request.query(), {})
        await self._jobs.of(request.principal).delete(request.id, partial(_require_same, request))
        return no_content()


def _representation(job: Job) -> bytes:
    told = msgspec.to_builtins(job, order="deterministic")
    return msgspec.json.encode({key: value for key, value in told.items() if key not in _INTERNAL})


def _require_same(request: Request, job: Job) -> None:
    request.conditions.require(etag_of(_representation(job)))


@query.shaped(type="string", pattern=f"^({_STATES})(,({_STATES}))*$", examples=["dead"])
def job_states(given: str) -> tuple[JobState, ...]:
    """How a job stands."""
    if not {*given.split(",")} <= {*_UNDONE}:
        raise ValueError(f"must be one, or several separated by commas, of {', '.join(_UNDONE)}")
    return tuple(map(JobState, given.split(",")))


@query.shaped(type="string", pattern=f"^({_KINDS})(,({_KINDS}))*$", examples=["mail"])
def job_kinds(given: str) -> tuple[JobKind, ...]:
    """What is to be done."""
    try:
        return tuple(map(JobKind, given.split(",")))
    except ValueError:
        raise ValueError(f"must be one, or several separated by commas, of {', '.join(JobKind)}") from None


@query.shaped(type="string", format="uuid")
def recording_id(given: str) -> UUID:
    """A Recording's id."""
    if not query.ONE_UUID.fullmatch(given):
        raise ValueError("must be a Recording's id")
    return UUID(given)


def _wanted(values: Mapping[str, Any]) -> JobFilter:
    return JobFilter(
        kinds=values.get("kind", ()), states=values.get("state", ()), recording_id=values.get("recordingId")
    )


_FILTERS: Final[dict[str, query.Reader]] = {"state": job_states, "kind": job_kinds, "recordingId": recording_id}
