"""/recordings/<id>/deliveries: the mails and webhooks about a Recording, with all attempts; and their repetition."""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any
from uuid import UUID

from msgspec import Meta, Struct

from voxrec.api.resources import require_visible
from voxrec.api.transaction_hooks import transaction_hook
from voxrec.error_codes import FieldErrorCode
from voxrec.errors import Conflict, FieldError, NotFound, invalid_field
from voxrec.mailaddress import MailAddressError, check_mail_address
from voxrec.model import DeliveryChannel, Recording, RecordingDelivery
from voxrec.model.fields import doc
from voxrec.store.delivery_history import DeliveryHistory
from voxrec.store.recordings import Recordings
from voxrec.store.transaction_hook import TransactionHook
from voxrec.store.webhooks import Webhooks
from voxrec.web.auth import Role, Scoped
from voxrec.web.body import JsonBody
from voxrec.web.request import Request
from voxrec.web.response import Response, json_response
from voxrec.web.route import Route


class DeliveryRequest(Struct, frozen=True, kw_only=True, rename="camel"):
    """A delivery to repeat, or an email address to send the mail to."""

    delivery_id: Annotated[
        UUID | None, doc("Id of the delivery to repeat. Null: send the mail of the recording to `target`.")
    ] = None
    target: Annotated[
        Annotated[str, Meta(min_length=1, max_length=254)] | None,
        doc("Another target: an email address, or the id of a webhook. Null: the target of the delivery."),
    ] = None


class DeliveryRoutes:
    """The mails and webhooks about a recording."""

    def __init__(self, history: DeliveryHistory, recordings: Scoped[Recordings], webhooks: Scoped[Webhooks]) -> None:
        self._history = history
        self._recordings = recordings
        self._webhooks = webhooks

    def routes(self) -> tuple[Route, ...]:
        """Return the routes."""
        route = partial(Route, profile_scoped=True, tag="recordings")
        return (
            route(
                *("GET", "/recordings/<id>/deliveries", Role.READ, self._list),
                response_model=list[RecordingDelivery],
                summary="List the mails and webhooks about a recording",
            ),
            route(
                *("POST", "/recordings/<id>/deliveries", Role.PROVISION, self._deliver),
                guard=require_visible(self._recordings),
                body=JsonBody(DeliveryRequest, validators=(_require_target,)),
                response_model=RecordingDelivery,
                idempotent=True,
                audit_in_transaction=True,
                errors=(Conflict,),
                summary="Repeat a delivery, or send the mail to another address",
            ),
        )

    async def _list(self, request: Request) -> Response:
        """Each mail has one recipient, and each webhook message one webhook; both with all attempts."""
        recording = await self._recording(request)
        return json_response(await self._history.of_recording(recording.id))

    async def _deliver(self, request: Request) -> Response:
        """A delivery is repeated even if it has succeeded. A webhook receives it with the same `webhook-id`."""
        wanted: DeliveryRequest = request.body
        recording = await self._recording(request)
        hook: TransactionHook[RecordingDelivery] = transaction_hook(request, json_response)
        if wanted.delivery_id is None:
            address = _mail_address(wanted.target)
            return json_response(await self._history.mail(recording.id, address, hook))
        target = wanted.target
        if target is not None:
            channel = await self._history.channel_of(recording.id, wanted.delivery_id)
            if channel is DeliveryChannel.MAIL:
                target = _mail_address(target)
            else:
                target = await self._webhook_id(request, recording, target)
        return json_response(await self._history.repeat(recording.id, wanted.delivery_id, target, hook))

    async def _recording(self, request: Request) -> Recording:
        return await self._recordings.visible_to(request.principal).get(request.id)

    async def _webhook_id(self, request: Request, recording: Recording, target: str) -> str:
        """Return the id of a webhook that may receive events of a Recording. Raises InvalidInput."""
        try:
            webhook = await self._webhooks.visible_to(request.principal).get(UUID(target))
        except ValueError:
            raise invalid_field(
                FieldError("target", "must be the id of a webhook", FieldErrorCode.NOT_A_UUID)
            ) from None
        except NotFound:
            message, params = f"webhook {target} does not exist", {"value": target}
            raise invalid_field(FieldError("target", message, FieldErrorCode.DOES_NOT_EXIST, params)) from None
        if webhook.profile_id not in (None, recording.profile_id):
            message = f"webhook {target} belongs to another profile"
            raise invalid_field(FieldError("target", message, FieldErrorCode.OF_ANOTHER_PROFILE))
        return str(webhook.id)


def _require_target(wanted: DeliveryRequest, _values: Mapping[str, Any]) -> list[FieldError]:
    if wanted.delivery_id is None and wanted.target is None:
        return [FieldError("target", "is required without deliveryId: an email address", FieldErrorCode.REQUIRED)]
    return []


def _mail_address(target: str | None) -> str:
    try:
        check_mail_address(target or "")
    except MailAddressError as error:
        message = f"invalid email address {target!r}: it {error}"
        raise invalid_field(FieldError.of("target", error, message)) from None
    return target or ""
