"""The deliveries of a Recording: mails and webhooks with their attempts, and their repetition."""

from collections.abc import Mapping
from typing import Any, Final

from voxrec.console.visit import Visit, form, to_recording
from voxrec.model import DeliveryChannel, DeliveryStatus, RecordingState
from voxrec.web.auth import Role
from voxrec.web.response import Response

_WEBHOOKS: Final = 200  # to choose from
_OPEN: Final = frozenset({DeliveryStatus.PENDING, DeliveryStatus.SUSPENDED})


async def delivery_values(visit: Visit, recording: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the template needs of the deliveries of a Recording."""
    deliveries = await visit.rest.get(f"/recordings/{recording['id']}/deliveries")
    may_deliver = visit.may(Role.PROVISION)
    has_audio = recording["state"] == RecordingState.COMPLETED and recording["audioUrl"] is not None
    has_webhooks = any(delivery["channel"] == DeliveryChannel.WEBHOOK for delivery in deliveries)
    return {
        "deliveries": deliveries,
        "deliveries_open": any(delivery["status"] in _OPEN for delivery in deliveries),
        "may_deliver": may_deliver,
        "may_mail": may_deliver and has_audio,
        "webhooks": await _webhooks_for(visit, recording) if may_deliver and has_webhooks else [],
    }


async def _webhooks_for(visit: Visit, recording: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return ids and URLs of the webhooks that may receive events of a Recording."""
    webhooks = (await visit.rest.page("/webhooks", limit=_WEBHOOKS)).items
    return [
        (webhook["id"], webhook["url"])
        for webhook in webhooks
        if webhook["profileId"] in (None, recording["profileId"])
    ]


async def deliver(visit: Visit) -> Response:
    """Repeat a delivery, perhaps to another target, or send the mail to an address."""
    fields = form(visit.request)
    wanted = {name: fields[name].strip() for name in ("deliveryId", "target") if fields.get(name, "").strip()}
    await visit.rest.send("POST", f"/recordings/{visit.request.id}/deliveries", wanted)
    return to_recording(visit, "delivery_requested", "#deliveries")
