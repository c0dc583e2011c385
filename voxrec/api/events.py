"""GET /events: the event stream of calls and Recordings, as Server-Sent Events (HTML standard, section 9.2)."""

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from voxrec.api.event_broadcaster import EventBroadcaster, EventFilter
from voxrec.errors import FieldError, InvalidInput
from voxrec.model import EventType
from voxrec.web import query
from voxrec.web.auth import Principal, Role
from voxrec.web.request import Request
from voxrec.web.response import Response
from voxrec.web.route import Route

EVENT_STREAM: Final = "text/event-stream"
_MAX_ID_DIGITS: Final = 18  # any number of 18 digits fits into PostgreSQL's bigint
_TYPES: Final = "|".join(EventType).replace(".", "[.]")
_HEADERS: Final = {"Content-Type": EVENT_STREAM, "X-Accel-Buffering": "no"}  # nginx would buffer the stream


class EventRoutes:
    """The route of the event stream."""

    def __init__(self, broadcaster: EventBroadcaster) -> None:
        self._broadcaster = broadcaster

    def routes(self) -> tuple[Route, ...]:
        """Return the route."""
        return (
            Route(
                *("GET", "/events", Role.READ, self._stream, EVENT_STREAM),
                profile_scoped=True,
                response_model=(EVENT_STREAM,),
                query=_PARAMETERS,
                request_headers=("Last-Event-ID",),
                summary="Stream events of calls and recordings",
            ),
        )

    async def _stream(self, request: Request) -> Response:
        """Send events as they happen. After a disconnection, resume by Last-Event-ID without missing an event."""
        parameters = query.read(request.query(), _PARAMETERS)
        event_filter = EventFilter(
            parameters.get("type", ()), _visible_profiles(request.principal, parameters.get("profileId"))
        )
        last_id = _last_event_id(request, parameters)
        return Response(200, _HEADERS, await self._broadcaster.subscribe(event_filter, last_id))


def _visible_profiles(principal: Principal, requested: frozenset[UUID] | None) -> frozenset[UUID] | None:
    """Return those of the requested Profiles that the token gives access to. None: all Profiles."""
    if principal.profile_ids is None or requested is None:
        return principal.profile_ids if requested is None else requested
    return principal.profile_ids & requested


def _last_event_id(request: Request, parameters: Mapping[str, Any]) -> int | None:
    """Return the id after which to resume.

    The header takes precedence over the query parameter: a browser that reconnects sends it with the original URL.
    """
    last_id: int | None = parameters.get("lastEventId")
    try:
        if header := request.headers.get("last-event-id", "").strip():
            last_id = event_id(header)
    except ValueError as error:
        raise InvalidInput("The request has an invalid header.", [FieldError("Last-Event-ID", str(error))]) from None
    return last_id


@query.shaped(type="string", pattern="^[0-9]{1,18}$", examples=["4711"])
def event_id(value: str) -> int:
    """The id of the last event received; the stream resumes after it."""
    if not (value.isascii() and value.isdigit() and len(value) <= _MAX_ID_DIGITS):
        raise ValueError("must be an event id: a number of 1 to 18 digits")
    return int(value)


@query.shaped(type="string", pattern=f"^({_TYPES})(,({_TYPES}))*$", examples=["call.answered,call.ended"])
def event_types(value: str) -> frozenset[EventType]:
    """Only events of these types, separated by commas."""
    try:
        return frozenset(EventType(name) for name in value.split(","))
    except ValueError:
        raise ValueError(f"must be one or several, separated by commas, of {', '.join(EventType)}") from None


_PARAMETERS: Final[dict[str, query.Reader]] = {
    "lastEventId": event_id,
    "profileId": query.profile_ids,
    "type": event_types,
}
