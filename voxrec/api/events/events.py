"""GET /events: the event stream of calls and Recordings, as Server-Sent Events (HTML standard, section 9.2)."""

from typing import Any, Final
from uuid import UUID

from voxrec.api.events.event_broadcaster import EventBroadcaster
from voxrec.api.events.subscriber import EventFilter
from voxrec.api.parameters import profile_ids
from voxrec.error_codes import FieldErrorCode
from voxrec.errors import FieldError, InvalidInput, InvalidValue
from voxrec.model import EventType, ListeningEventType
from voxrec.web.auth import Principal, Role
from voxrec.web.parameters import some_of
from voxrec.web.query import QueryParameter, query_parameter
from voxrec.web.request import Request
from voxrec.web.response import Response
from voxrec.web.route import Route
from voxrec.web.sse import EVENT_STREAM, HEADERS

_MAX_ID_DIGITS: Final = 18  # any number of 18 digits fits into PostgreSQL's bigint


class EventRoutes:
    """Events of calls and recordings, as they happen."""

    def __init__(self, broadcaster: EventBroadcaster) -> None:
        self._broadcaster = broadcaster

    def routes(self) -> tuple[Route, ...]:
        """Return the route."""
        return (
            Route(
                *("GET", "/events", Role.READ, self._stream, EVENT_STREAM),
                profile_scoped=True,
                background=True,
                response_model=(EVENT_STREAM,),
                query=_PARAMETERS,
                request_headers=("Last-Event-ID",),
                summary="Stream events of calls and recordings",
            ),
        )

    async def _stream(self, request: Request) -> Response:
        """Server-Sent Events of all daemons. A client that reconnects with `Last-Event-ID` misses no event.

        If that event is no longer stored, the stream begins with an event of the type `reset`, followed by all stored
        events. The stream ends when the token expires or is revoked. It is no use of a session: it ends when the
        session would end, and a client whose session has been used meanwhile connects again.

        Events of listenings to live calls are sent to the role `supervise`. They have no id and are not stored.
        """
        visible = _visible_profiles(request.principal, request.query.get("profileId"))
        with_listenings = request.principal.role.includes(Role.SUPERVISE)
        event_filter = EventFilter(request.query.get("type", ()), visible, with_listenings=with_listenings)
        last_id = _last_event_id(request)
        expires_at = request.principal.idle_ends_at or request.principal.expires_at
        return Response(200, HEADERS, await self._broadcaster.subscribe(event_filter, last_id, expires_at))


def _visible_profiles(principal: Principal, requested: frozenset[UUID] | None) -> frozenset[UUID] | None:
    """Return those of the requested Profiles that the token gives access to. None: all Profiles."""
    if principal.profile_ids is None or requested is None:
        return principal.profile_ids if requested is None else requested
    return principal.profile_ids & requested


def _last_event_id(request: Request) -> int | None:
    """Return the id after which to resume.

    The header takes precedence over the query parameter: a browser that reconnects sends it with the original URL.
    """
    last_id: int | None = request.query.get("lastEventId")
    try:
        if header := request.headers.get("last-event-id", "").strip():
            last_id = event_id(header)
    except InvalidValue as error:
        raise InvalidInput("The request has an invalid header.", [FieldError.of("Last-Event-ID", error)]) from None
    return last_id


@query_parameter(type="string", pattern="^[0-9]{1,18}$", examples=["4711"])
def event_id(value: str) -> int:
    """The id of the last event received; the stream resumes after it."""
    if not (value.isascii() and value.isdigit() and len(value) <= _MAX_ID_DIGITS):
        raise InvalidValue(
            "must be an event id: a number of 1 to 18 digits", FieldErrorCode.WRONG_FORMAT, {"example": "42"}
        )
    return int(value)


_PARAMETERS: Final[dict[str, QueryParameter[Any]]] = {
    "lastEventId": event_id,
    "profileId": profile_ids,
    "type": some_of(
        [*EventType, *ListeningEventType],
        "Only events of these types, separated by commas.",
        example="call.answered,call.ended",
    ),
}
