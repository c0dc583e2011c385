"""/calls: the live calls of all nodes, and calls that a client requests."""

from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal
from uuid import UUID

import msgspec

from voxrec import sipuri
from voxrec.api.calls.call_control import CallControl
from voxrec.api.parameters import profile_ids
from voxrec.api.resources import require_visible
from voxrec.api.transaction_hooks import transaction_hook
from voxrec.cursor import Cursor
from voxrec.errors import Conflict, FieldError, NodeUnreachable, NotFound
from voxrec.model import Call, CallRequest, CallState
from voxrec.store.idempotency import Idempotency
from voxrec.store.profiles import Profiles
from voxrec.web.auth import Principal, Role, Scoped
from voxrec.web.body import JsonBody
from voxrec.web.pagination import LINK, PAGINATION, Paginator
from voxrec.web.parameters import some_of
from voxrec.web.query import QueryParameter
from voxrec.web.request import Request
from voxrec.web.response import Response, json_response, no_content
from voxrec.web.route import Route

_FILTERS: Final[dict[str, QueryParameter[Any]]] = {
    "profileId": profile_ids,
    "state": some_of([*CallState], "Only calls in these states, separated by commas.", example="ringing,talking"),
}

_UpdateModel: Final[Any] = msgspec.defstruct("Call", [("recording", Literal[True])])


class CallRoutes:
    """The live calls of all nodes.

    The calls of a node that does not respond are ``lost``, and cannot be changed (503).
    """

    def __init__(
        self, call_control: CallControl, profiles: Scoped[Profiles], idempotency: Idempotency, public_url: str
    ) -> None:
        self._call_control = call_control
        self._idempotency = idempotency
        self._profiles = profiles
        self._public_url = public_url

    def routes(self) -> tuple[Route, ...]:
        """Return the routes."""
        route = partial(Route, profile_scoped=True)
        return (
            route(
                *("GET", "/calls", Role.READ, self._list),
                response_model=list[Call],
                query=_FILTERS | PAGINATION,
                response_headers=LINK,
                summary="List the live calls of all nodes",
            ),
            route(
                *("POST", "/profiles/<id>/calls", Role.PROVISION, self._request_call),
                guard=require_visible(self._profiles),
                body=JsonBody(CallRequest, required=frozenset({"from"}), validators=(_validate_request,)),
                response_model=Call,
                status=201,
                response_headers=("Location",),
                idempotent=True,
                audit_in_transaction=True,
                errors=(Conflict,),
                summary="Call a person and connect them with the far end of a profile",
                tag="calls",
            ),
            route(*("GET", "/calls/<id>", Role.READ, self._get), response_model=Call, summary="Get a live call"),
            route(
                *("POST", "/calls/<id>", Role.SUPERVISE, self._record),
                guard=self._require_call,
                body=JsonBody(_UpdateModel, required=frozenset({"recording"})),
                response_model=Call,
                errors=(Conflict, NodeUnreachable),
                summary="Record a live call from now on",
            ),
            route(
                "DELETE",
                "/calls/<id>",
                Role.SUPERVISE,
                self._hang_up,
                errors=(NodeUnreachable,),
                summary="Hang up a live call",
            ),
        )

    async def _list(self, request: Request) -> Response:
        calls = _VisibleCalls(self._call_control, request.principal)
        paginator = Paginator(calls, msgspec.json.encode, self._public_url)
        return await paginator.respond(request, _call_filter(request.query))

    async def _get(self, request: Request) -> Response:
        return json_response(_shown(await self._visible_call(request), request.principal))

    async def _request_call(self, request: Request) -> Response:
        """The response does not wait for the person, who is called by the node that receives the request.

        The call is `calling` until the person answers; then the far end is called, and the rules of the profile apply.
        `call.ended` reports the reason of a failure in `hangupCause`, `hangupBy` and `sipStatus`. `DELETE` of the call
        cancels it.
        """
        profile = await self._profiles.visible_to(request.principal).get(request.id)
        commit = partial(self._idempotency.commit, transaction_hook(request, self._requested))
        return self._requested(await self._call_control.request(profile, request.body.from_, commit))

    def _requested(self, call: Call) -> Response:
        return json_response(call, 201, {"Location": f"{self._public_url}/calls/{call.id}"})

    async def _record(self, request: Request) -> Response:
        """A call can be recorded once."""
        return json_response(await self._call_control.record(request.id))

    async def _hang_up(self, request: Request) -> Response:
        await self._call_control.release((await self._visible_call(request)).id)
        return no_content()

    async def _require_call(self, request: Request) -> None:
        await self._visible_call(request)

    async def _visible_call(self, request: Request) -> Call:
        """Return the call in the path. Raises NotFound if there is none, or the token gives no access to it."""
        call = await self._call_control.get_call(request.id)
        if not request.principal.may_access(call.profile_id):
            raise NotFound(f"There is no live call {request.id}.")
        return call


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFilter:
    """Criteria for live calls. ``profile_ids`` None: all Profiles; no ``states``: all states."""

    profile_ids: Collection[UUID] | None = None
    states: Collection[CallState] = ()

    def matches(self, call: Call) -> bool:
        """Return whether a call meets the criteria."""
        return (self.profile_ids is None or call.profile_id in self.profile_ids) and (
            not self.states or call.state in self.states
        )


class _VisibleCalls:
    """The calls that a token gives access to, as the source of a paginated list."""

    def __init__(self, call_control: CallControl, principal: Principal) -> None:
        self._call_control = call_control
        self._principal = principal

    async def pages(self, filter_: CallFilter, size: int) -> AsyncIterator[list[Call]]:
        """Iterate over all matching calls in batches of ``size``."""
        calls = await self._matching(filter_)
        for start in range(0, len(calls), size):
            yield calls[start : start + size]

    async def page(self, filter_: CallFilter, limit: int, after: Cursor | None) -> list[Call]:
        """Return at most ``limit`` matching calls after a position."""
        calls = [call for call in await self._matching(filter_) if after is None or Cursor.after(call) < after]
        return calls[:limit]

    async def _matching(self, filter_: CallFilter) -> list[Call]:
        calls = [
            call
            for call in await self._call_control.list_calls()
            if filter_.matches(call) and self._principal.may_access(call.profile_id)
        ]
        calls = [_shown(call, self._principal) for call in calls]
        return sorted(calls, key=Cursor.after, reverse=True)  # by id, if two calls arrived at the same time


def _validate_request(call: CallRequest, _values: Mapping[str, Any]) -> list[FieldError]:
    try:
        sipuri.parse(call.from_)
    except sipuri.SipUriError as error:
        return [FieldError.of("from", error, f"invalid SIP URI {call.from_!r}: it {error}")]
    return []


def _shown(call: Call, principal: Principal) -> Call:
    """Return a call as a principal may see it."""
    is_supervisor = principal.role.includes(Role.SUPERVISE)
    return call if is_supervisor else msgspec.structs.replace(call, listeners=None)


def _call_filter(query: Mapping[str, Any]) -> CallFilter:
    return CallFilter(profile_ids=query.get("profileId"), states=query.get("state", ()))
