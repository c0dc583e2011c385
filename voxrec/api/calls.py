"""/calls: the live calls of this daemon, which alone knows them and can end them.

Where several daemons share a database, each has the calls of its own Asterisk; /events tells about those of all.
"""

from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal, Protocol
from uuid import UUID

import msgspec

from voxrec.api.parameters import profile_ids
from voxrec.cursor import Cursor
from voxrec.errors import Conflict, NotFound
from voxrec.model import Call, CallState, PauseBehavior, Recording
from voxrec.web.auth import Principal, Role
from voxrec.web.body import JsonBody
from voxrec.web.pagination import LINK, PAGINATION, Paginator
from voxrec.web.parameters import some_of
from voxrec.web.query import QueryParameter
from voxrec.web.request import Request
from voxrec.web.response import JSON, Response, no_content
from voxrec.web.route import Route


class CallControl(Protocol):
    """Who has the live calls."""

    def shown(self) -> list[Call]:
        """All as they stand now, newest first."""

    def find(self, call_id: UUID, /) -> Call:
        """One as it stands now; NotFound."""

    def release(self, call_id: UUID, /) -> None:
        """End one; NotFound."""

    def record(self, call_id: UUID, /) -> Call:
        """Record one from now on, and give it back as it stands then; NotFound, Conflict."""

    async def pause(self, recording_id: UUID, behavior: PauseBehavior, seconds: float | None, /) -> Recording:
        """Pause a live Recording, and give it back as it stands then; Conflict."""

    async def resume(self, recording_id: UUID, /) -> Recording:
        """Resume a live Recording, and give it back as it stands then; Conflict."""


class _Change(msgspec.Struct, frozen=True):
    """What may be asked of a live call."""

    recording: Literal[True]


class CallRoutes:
    """The routes of live calls."""

    def __init__(self, switchboard: CallControl, public_url: str) -> None:
        self._switchboard = switchboard
        self._public_url = public_url

    def routes(self) -> tuple[Route, ...]:
        """The route table."""
        route = partial(Route, profile_scoped=True)
        return (
            route(
                *("GET", "/calls", Role.READ, self._list),
                response_model=list[Call],
                query=_FILTERS | PAGINATION,
                response_headers=LINK,
                summary="List this daemon's live calls",
            ),
            route("GET", "/calls/<id>", Role.READ, self._show, response_model=Call, summary="Show a live call"),
            route(
                *("POST", "/calls/<id>", Role.PROVISION, self._record),
                guard=self._require_call,
                body=JsonBody(_Change, required=frozenset({"recording"})),
                response_model=Call,
                errors=(Conflict,),
                summary="Record a live call from now on",
            ),
            route("DELETE", "/calls/<id>", Role.PROVISION, self._hang_up, summary="Hang up a live call"),
        )

    async def _list(self, request: Request) -> Response:
        listing = Paginator(_Visible(self._switchboard, request.principal), msgspec.json.encode, self._public_url)
        return await listing.respond(request, _filter(request.query))

    async def _show(self, request: Request) -> Response:
        return Response(200, {"Content-Type": JSON}, msgspec.json.encode(self._found(request)))

    async def _record(self, request: Request) -> Response:
        return Response(200, {"Content-Type": JSON}, msgspec.json.encode(self._switchboard.record(request.id)))

    async def _require_call(self, request: Request) -> None:
        self._found(request)

    async def _hang_up(self, request: Request) -> Response:
        self._switchboard.release(self._found(request).id)
        return no_content()

    def _found(self, request: Request) -> Call:
        call = self._switchboard.find(request.id)
        if not _may_see(request.principal, call):
            raise NotFound(f"There is no live call {request.id} here.")
        return call


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFilter:
    """Which calls are wanted: all where nothing is given."""

    profiles: Collection[UUID] | None = None
    states: Collection[CallState] = ()

    def takes(self, call: Call) -> bool:
        """Whether this one is."""
        return (self.profiles is None or call.profile_id in self.profiles) and (
            not self.states or call.state in self.states
        )


class _Visible:
    """The calls that somebody may see, as a list's source."""

    def __init__(self, switchboard: CallControl, principal: Principal) -> None:
        self._switchboard = switchboard
        self._principal = principal

    async def pages(self, wanted: CallFilter, size: int) -> AsyncIterator[list[Call]]:
        """They are in memory anyway."""
        found = self._found(wanted)
        for begin in range(0, len(found), size):
            yield found[begin : begin + size]

    async def page(self, wanted: CallFilter, limit: int, after: Cursor | None) -> list[Call]:
        """A page."""
        found = [call for call in self._found(wanted) if after is None or Cursor.after(call) < after]
        return found[:limit]

    def _found(self, wanted: CallFilter) -> list[Call]:
        calls = [call for call in self._switchboard.shown() if wanted.takes(call) and _may_see(self._principal, call)]
        return sorted(calls, key=Cursor.after, reverse=True)  # two may have come at the same moment


def _may_see(principal: Principal, call: Call) -> bool:
    return principal.profile_ids is None or call.profile_id in principal.profile_ids


def _filter(query: Mapping[str, Any]) -> CallFilter:
    return CallFilter(profiles=query.get("profileId"), states=query.get("state", ()))


_FILTERS: Final[dict[str, QueryParameter[Any]]] = {
    "profileId": profile_ids,
    "state": some_of([*CallState], "States of a call.", example="ringing,talking"),
}
