"""/bulk-actions: a preview of one action for many Recordings, its confirmation, and the result for each of them."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated, Any, Final, Literal
from uuid import UUID

import msgspec
from msgspec import Meta, Struct

from voxrec.api.bulk.stored_queries import validate_query
from voxrec.api.field_validation import ProfileExists
from voxrec.api.resources import require_visible
from voxrec.api.transaction_hooks import transaction_hook
from voxrec.clock import UtcNow
from voxrec.cursor import Cursor
from voxrec.error_codes import FieldErrorCode, ProblemReason
from voxrec.errors import Conflict, FieldError, InvalidInput
from voxrec.model import (
    BulkAction,
    BulkActionItem,
    BulkActionKind,
    BulkItemState,
    ExportQuery,
    SkipReason,
)
from voxrec.model.fields import Text255, doc
from voxrec.recordings.bulk_actions import skip_reason
from voxrec.store.bulk_actions import BulkActions, NewBulkAction
from voxrec.store.profiles import Profiles
from voxrec.store.recording_filter import RecordingFilter
from voxrec.store.recordings import Recordings
from voxrec.web.auth import Role, Scoped
from voxrec.web.body import JsonBody
from voxrec.web.errors import NotAllowed, TooManyRequests
from voxrec.web.pagination import LINK, PAGINATION, Paginator, Positions, encode_cursor
from voxrec.web.parameters import one_of
from voxrec.web.request import Request
from voxrec.web.response import Response, json_response
from voxrec.web.route import Route

MAX_RECORDINGS: Final = 100_000
"""Recordings of one bulk action; more are selected by several ones, for example by month."""
MAX_PREVIEWS: Final = 100
"""Previews of one client that were neither confirmed nor deleted."""
_LIFETIME: Final = timedelta(hours=1)  # of a preview
_PAGE: Final = 10_000
"""Recordings of one statement: a filter without an index finds and sorts all matches again for each of them."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class BulkActionRequest(ExportQuery, frozen=True, kw_only=True, rename="camel"):
    """A bulk action to preview: the filter of `GET /recordings`, or the ids of recordings, or both."""

    action: BulkActionKind
    recording_ids: Annotated[
        Annotated[tuple[UUID, ...], Meta(min_length=1, max_length=1000)] | None,
        doc("Only these recordings. Null: all that match."),
    ] = None
    reason: Annotated[Text255 | None, doc("Why, for the audit log; without personal data.")] = None


class BulkActionUpdate(Struct, frozen=True, kw_only=True, rename="camel"):
    """``pending`` confirms a preview; ``canceled`` ends the bulk action after the current recording."""

    state: Literal["pending", "canceled"]


def _encode_item_position(position: int) -> str:
    # the position takes the place of the time in the cursors of other lists
    return encode_cursor(Cursor(_EPOCH + timedelta(microseconds=position), UUID(int=0)))


_ITEM_POSITIONS: Final = Positions[BulkActionItem](lambda item: item.position, _encode_item_position)


class _Items:
    """The Recordings of one bulk action, for `Paginator`."""

    def __init__(self, actions: BulkActions, action_id: UUID) -> None:
        self._actions = actions
        self._action_id = action_id

    async def pages(self, state: BulkItemState | None, size: int) -> AsyncIterator[list[BulkActionItem]]:
        after: int | None = None
        while items := await self._actions.items(self._action_id, state, size, after):
            yield items
            after = items[-1].position

    async def page(self, state: BulkItemState | None, limit: int, after: Any) -> list[BulkActionItem]:
        position = (after.created_at - _EPOCH) // timedelta(microseconds=1) if isinstance(after, Cursor) else after
        return await self._actions.items(self._action_id, state, limit, position)


class BulkActionRoutes:
    """Actions for many recordings: export, redelivery, legal hold and deletion.

    A bulk action is created as a preview, which says how many recordings it concerns, and which of them it skips for
    what reason. Nothing is changed until it is confirmed with `{"state": "pending"}`; then it concerns exactly these
    recordings.
    """

    def __init__(
        self,
        actions: Scoped[BulkActions],
        recordings: Scoped[Recordings],
        profiles: Scoped[Profiles],
        wake: Callable[[], None],
        public_url: str,
        now: UtcNow,
    ) -> None:
        self._actions = actions
        self._recordings = recordings
        self._profiles = profiles
        self._wake = wake
        self._public_url = public_url
        self._now = now

    def routes(self) -> tuple[Route, ...]:
        """Return the routes."""
        route = partial(Route, profile_scoped=True)
        states = {"state": one_of([*BulkItemState], "Only recordings with this result.", title="BulkItemState")}
        return (
            route(
                *("GET", "/bulk-actions", Role.READ, self._list),
                response_model=list[BulkAction],
                query=PAGINATION,
                response_headers=LINK,
                summary="List bulk actions",
            ),
            route(
                *("POST", "/bulk-actions", Role.READ, self._create),
                body=JsonBody(
                    BulkActionRequest,
                    required=frozenset({"action"}),
                    validators=(validate_query,),
                    value_validators=(ProfileExists(self._profiles),),
                ),
                status=201,
                response_model=BulkAction,
                response_headers=("Location",),
                idempotent=True,
                audit_in_transaction=True,
                summary="Preview a bulk action",
            ),
            route(
                "GET",
                "/bulk-actions/<id>",
                Role.READ,
                self._get,
                response_model=BulkAction,
                summary="Get a bulk action",
            ),
            route(
                *("POST", "/bulk-actions/<id>", Role.READ, self._update),
                body=JsonBody(BulkActionUpdate, required=frozenset({"state"})),
                response_model=BulkAction,
                idempotent=True,
                audit_in_transaction=True,
                errors=(Conflict,),
                summary="Confirm or cancel a bulk action",
            ),
            route(
                *("GET", "/bulk-actions/<id>/recordings", Role.READ, self._list_recordings),
                guard=require_visible(self._actions),
                response_model=list[BulkActionItem],
                query=PAGINATION | states,
                response_headers=LINK,
                summary="List the recordings of a bulk action with their results",
            ),
        )

    async def _list(self, request: Request) -> Response:
        """A client that is limited to some profiles sees the bulk actions of clients with these profiles, or some."""
        actions = self._actions.visible_to(request.principal)
        return await Paginator(actions, msgspec.json.encode, self._public_url).respond(request, None)

    async def _create(self, request: Request) -> Response:
        """`export` requires the role `read`, the other actions require `provision`.

        At most 100,000 recordings can be selected. The preview expires after an hour.
        """
        wanted: BulkActionRequest = request.body
        principal = request.principal
        principal.require_role(wanted.action.role)
        actions = self._actions.visible_to(principal)
        if await actions.count_previews(principal.key) >= MAX_PREVIEWS:
            raise TooManyRequests(
                f"{principal.name!r} has {MAX_PREVIEWS} previews, which is the maximum. Retry later.",
                {"Retry-After": "60"},
                reason=ProblemReason.TOO_MANY_PREVIEWS,
                params={"maximum": MAX_PREVIEWS},
            )
        new = NewBulkAction(
            action=wanted.action,
            created_by=principal.name,
            user_id=principal.user_id,
            token_id=principal.token_id,
            profile_ids=principal.profile_ids,
            address=request.address,
            reason=wanted.reason,
            lifetime=_LIFETIME,
        )
        request.audit_details.reason = wanted.reason
        filters = RecordingFilter.of_query(wanted, self._now())
        if wanted.recording_ids is not None:
            filters = replace(filters, ids=frozenset(wanted.recording_ids))
        # before the transaction: a request that holds a connection must not wait for another one
        preview = await self._preview(actions, self._recordings.visible_to(principal), wanted.action, filters)
        return self._created(await actions.create(new, preview, transaction_hook(request, self._created)))

    async def _preview(
        self, actions: BulkActions, recordings: Recordings, action: BulkActionKind, filters: RecordingFilter
    ) -> dict[UUID, SkipReason | None]:
        """Return the ids of the Recordings in their order, each with the reason why it is skipped."""
        preview: dict[UUID, SkipReason | None] = {}
        async for page in recordings.summaries(filters, _PAGE):
            if len(preview) + len(page) > MAX_RECORDINGS:
                problem = (
                    f"the filter matches more than {MAX_RECORDINGS:,} recordings; select fewer, for example by month"
                )
                params = {"maximum": MAX_RECORDINGS}
                field_error = FieldError("since", problem, FieldErrorCode.TOO_MANY_RECORDINGS, params)
                raise InvalidInput("The bulk action is too large.", [field_error])
            for each in page:
                preview[each.id] = skip_reason(action, each.state, legal_hold=each.legal_hold)
            if action is BulkActionKind.REDELIVER:
                ids = [each.id for each in page]
                preview |= dict.fromkeys(await actions.without_deliveries(ids), SkipReason.NO_DELIVERIES)
        return preview

    def _created(self, action: BulkAction) -> Response:
        location = f"{self._public_url}/bulk-actions/{action.id}"
        return json_response(action, 201, {"Location": location})

    async def _get(self, request: Request) -> Response:
        return json_response(await self._actions.visible_to(request.principal).get(request.id))

    async def _update(self, request: Request) -> Response:
        """Only the client that created a bulk action can confirm it. Confirming it again has no effect."""
        update: BulkActionUpdate = request.body
        principal = request.principal
        actions = self._actions.visible_to(principal)
        action = await actions.get(request.id)
        principal.require_role(action.action.role)
        if action.creator_key != principal.key and (
            update.state == "pending" or not principal.role.includes(Role.PROVISION)
        ):
            detail = f"Bulk action {action.id} belongs to {action.created_by}."
            raise NotAllowed(detail, reason=ProblemReason.BULK_ACTION_OF_ANOTHER)
        change = actions.cancel if update.state == "canceled" else actions.confirm
        request.audit_details.reason = action.reason
        stored = await change(action.id, transaction_hook(request, json_response))
        self._wake()
        return json_response(stored)

    async def _list_recordings(self, request: Request) -> Response:
        """In the order of the list, whatever their results."""
        items = _Items(self._actions.visible_to(request.principal), request.id)
        paginator = Paginator(items, msgspec.json.encode, self._public_url, _ITEM_POSITIONS)
        return await paginator.respond(request, request.query.get("state"))
