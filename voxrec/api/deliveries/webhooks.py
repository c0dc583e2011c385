"""/webhooks: the endpoints that receive events by HTTP, their secrets, a test, and the list of attempts."""

import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from functools import partial
from inspect import getdoc
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from msgspec import Meta, Struct
from twisted.internet.interfaces import IReactorTime

from voxrec.api.field_validation import validate_id
from voxrec.api.resources import Representation, apply_update, encode_resource, initial_values, require_visible
from voxrec.api.transaction_hooks import transaction_hook
from voxrec.clock import UtcNow
from voxrec.error_codes import FieldErrorCode
from voxrec.errors import Conflict, FieldError, invalid_field
from voxrec.model import Webhook, WebhookAttempt, WebhookEvent, WebhookSecret
from voxrec.model.fields import doc
from voxrec.model.webhook import CallMessage, DeliveryMessage, ExportMessage, RecordingMessage, Secret, secret_errors
from voxrec.store.webhook_queue import Attempt
from voxrec.store.webhooks import Endpoint, WebhookFilter, Webhooks
from voxrec.web.auth import Role, Scoped
from voxrec.web.body import JsonBody, PartialUpdateBody
from voxrec.web.concurrency import ConcurrencyLimit
from voxrec.web.openapi_webhooks import WebhookOperation
from voxrec.web.pagination import LINK, PAGINATION, Paginator
from voxrec.web.parameters import uuid
from voxrec.web.partial_update import PartialUpdate
from voxrec.web.query import QueryParameter
from voxrec.web.rate_limit import RateLimit
from voxrec.web.request import Request
from voxrec.web.response import Response, json_response, no_content
from voxrec.web.route import CONDITIONAL, ETAG, Route

SendTest = Callable[[Endpoint, UUID | None], Awaitable[Attempt]]
"""Sends a test message to an endpoint, which belongs to a Profile or to all of them."""

_TESTS: Final = 20  # of a token, as of Profiles
_TEST_PERIOD: Final = 60.0  # seconds
_CONCURRENT_TESTS: Final = 2  # of a token
_SET_BY_VOXREC: Final = frozenset({"createdAt", "updatedAt", "disabledReason", "failingSince", "ofProfile"})
_FILTERS: Final[dict[str, QueryParameter[Any]]] = {"profileId": uuid("Only webhooks of this profile.")}
_MESSAGES: Final[Mapping[str, type[Struct]]] = {
    "call": CallMessage,
    "recording": RecordingMessage,
    "delivery": DeliveryMessage,
    "export": ExportMessage,
}
WEBHOOK_OPERATIONS: Final = tuple(
    WebhookOperation(name, _MESSAGES[name.partition(".")[0]], summary[0].upper() + summary[1:])
    for name, summary in re.findall(r"``(\S+)``: (.+)", getdoc(WebhookEvent) or "")
)
"""The requests to webhooks, for the OpenAPI document."""


class SecretRotation(Struct, frozen=True, kw_only=True, rename="camel"):
    """A change of the secret of a webhook."""

    secret: Annotated[Secret | None, doc("New secret. Null: voxrec generates one.")] = None
    overlap_seconds: Annotated[
        int,
        Meta(ge=0, le=2_592_000, description="Seconds in which requests are also signed with the previous secret."),
    ] = 86_400


class WebhookTest(Struct, frozen=True, kw_only=True, rename="camel"):
    """The result of a test message."""

    delivered: Annotated[bool, doc("Whether the receiver answered with a status of 2xx.")]
    status: Annotated[int | None, doc("HTTP status of the response. Null: there was none.")]
    reply: Annotated[str, doc("Beginning of the response, or the error.")]
    seconds: Annotated[float, doc("Duration of the request.")]


_REPRESENTATION: Final[Representation[Webhook]] = Representation(encode_resource)


class WebhookRoutes:
    """Webhooks: endpoints that receive the events of calls and recordings, signed as Standard Webhooks describes."""

    def __init__(
        self, clock: IReactorTime, webhooks: Scoped[Webhooks], public_url: str, now: UtcNow, send_test: SendTest
    ) -> None:
        self._webhooks = webhooks
        self._public_url = public_url
        self._now = now
        self._send_test = send_test
        self._rate = RateLimit(clock, _TESTS, _TEST_PERIOD, "tests of webhooks")
        self._concurrency = ConcurrencyLimit(_CONCURRENT_TESTS, "tests of webhooks")

    def routes(self) -> tuple[Route, ...]:
        """Return the routes. They require the role provision, since headers and secrets are confidential."""
        route = partial(Route, profile_scoped=True)
        with_representation = partial(route, response_model=Webhook, request_headers=CONDITIONAL, response_headers=ETAG)
        validators: dict[str, Any] = {"validators": (lambda webhook, _: webhook.field_errors(),)}
        return (
            route(
                *("GET", "/webhooks", Role.PROVISION, self._list),
                response_model=list[Webhook],
                query=_FILTERS | PAGINATION,
                response_headers=LINK,
            ),
            route(
                *("PUT", "/webhooks", Role.PROVISION, self._create),
                body=JsonBody(
                    Webhook,
                    read_only=_SET_BY_VOXREC,
                    required=frozenset({"url"}),
                    initial_values=partial(initial_values, self._now),
                    value_validators=(validate_id,),
                    **validators,
                ),
                response_model=Webhook,
                idempotent=True,
                audit_in_transaction=True,
                response_headers=("ETag", "Location"),
                errors=(Conflict,),
            ),
            with_representation("GET", "/webhooks/<id>", Role.PROVISION, self._get),
            with_representation(
                *("POST", "/webhooks/<id>", Role.PROVISION, self._update),
                body=PartialUpdateBody(Webhook, read_only=_SET_BY_VOXREC | {"id", "profileId"}, **validators),
                idempotent=True,
                audit_in_transaction=True,
            ),
            route(
                *("DELETE", "/webhooks/<id>", Role.PROVISION, self._delete),
                request_headers=CONDITIONAL,
                errors=(Conflict,),
            ),
            route(
                *("GET", "/webhooks/<id>/secret", Role.PROVISION, self._get_secret),
                response_model=WebhookSecret,
                summary="Get the secret of a webhook",
            ),
            route(
                *("POST", "/webhooks/<id>/secret", Role.PROVISION, self._rotate_secret),
                guard=require_visible(self._webhooks),
                body=JsonBody(SecretRotation, validators=(_validate_rotation,)),
                response_model=WebhookSecret,
                summary="Replace the secret of a webhook",
            ),
            route(
                *("POST", "/webhooks/<id>/test", Role.PROVISION, self._test),
                response_model=WebhookTest,
                summary="Send a test message to a webhook",
            ),
            route(
                *("GET", "/webhooks/<id>/attempts", Role.PROVISION, self._list_attempts),
                response_model=list[WebhookAttempt],
                query=PAGINATION,
                response_headers=LINK,
                summary="List the requests to a webhook",
                tag="webhooks",
            ),
        )

    async def _list(self, request: Request) -> Response:
        """A token that is limited to some profiles sees the webhooks of these."""
        webhooks = self._webhooks.visible_to(request.principal)
        paginator = Paginator(webhooks, encode_resource, self._public_url)
        return await paginator.respond(request, _webhook_filter(request.query))

    async def _create(self, request: Request) -> Response:
        """Without `profileId`, the webhook receives the events of all profiles.

        voxrec generates its secret; see `GET /webhooks/{id}/secret`.
        """
        webhooks = self._webhooks.visible_to(request.principal)
        return self._created(await webhooks.create(request.body, transaction_hook(request, self._created)))

    def _created(self, stored: Webhook) -> Response:
        return _REPRESENTATION.created(stored, f"{self._public_url}/webhooks/{stored.id}")

    async def _get(self, request: Request) -> Response:
        return _REPRESENTATION.retrieved(request, await self._webhooks.visible_to(request.principal).get(request.id))

    async def _update(self, request: Request) -> Response:
        """Fields that are not given are not changed. With `enabled: true`, what is pending is sent now."""
        webhooks = self._webhooks.visible_to(request.principal)
        hook = transaction_hook(request, _REPRESENTATION.updated)
        return _REPRESENTATION.updated(await webhooks.update(request.id, partial(self._apply_update, request), hook))

    def _apply_update(self, request: Request, current: Webhook) -> Webhook:
        update: PartialUpdate[Webhook] = request.body
        changed = apply_update(request, update, current, _REPRESENTATION, self._now)
        if current.of_profile and changed.url != current.url:
            problem = f"is the webhookUrl of profile {current.profile_id}; change it there"
            raise invalid_field(FieldError("url", problem, FieldErrorCode.URL_OF_PROFILE))
        if update.values.get("enabled"):
            return msgspec.structs.replace(changed, disabled_reason=None, failing_since=None)
        return changed

    async def _delete(self, request: Request) -> Response:
        """What is pending for the webhook is not sent. The `webhookUrl` of a profile is removed in the profile."""
        webhooks = self._webhooks.visible_to(request.principal)
        await webhooks.delete(request.id, partial(_REPRESENTATION.require_version, request))
        return no_content()

    async def _get_secret(self, request: Request) -> Response:
        return json_response(await self._webhooks.visible_to(request.principal).secret(request.id))

    async def _rotate_secret(self, request: Request) -> Response:
        """Requests have signatures of both secrets during the overlap, so that the receiver can change over."""
        rotation: SecretRotation = request.body
        overlap = timedelta(seconds=rotation.overlap_seconds)
        webhooks = self._webhooks.visible_to(request.principal)
        return json_response(await webhooks.rotate_secret(request.id, rotation.secret, overlap))

    async def _test(self, request: Request) -> Response:
        """The message has the type `webhook.test`. It is sent at once, also to a disabled webhook, and not retried."""
        webhooks = self._webhooks.visible_to(request.principal)
        webhook, endpoint = await webhooks.get(request.id), await webhooks.endpoint(request.id)
        self._rate.count(request.principal.key)
        with self._concurrency.operation(request.principal.key):
            attempt = await self._send_test(endpoint, webhook.profile_id)
        return json_response(
            WebhookTest(
                delivered=attempt.delivered, status=attempt.status, reply=attempt.reply, seconds=attempt.seconds
            )
        )

    async def _list_attempts(self, request: Request) -> Response:
        """Every request of the last days that reported an event, newest first."""
        attempts = await self._webhooks.visible_to(request.principal).attempts(request.id)
        return await Paginator(attempts, msgspec.json.encode, self._public_url).respond(request, None)


def _validate_rotation(rotation: SecretRotation, _values: Mapping[str, Any]) -> list[FieldError]:
    return [] if rotation.secret is None else secret_errors(rotation.secret)


def _webhook_filter(query: Mapping[str, Any]) -> WebhookFilter:
    return WebhookFilter(profile_id=query.get("profileId"))
