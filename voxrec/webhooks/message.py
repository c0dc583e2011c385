"""The body of a webhook request."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from voxrec.model import RecordingState
from voxrec.model.webhook import CallMessage, DeliveryMessage, ExportMessage, RecordingMessage
from voxrec.store.webhook_queue import WebhookMessage

_TYPES: Final = {
    "call": CallMessage,
    "recording": RecordingMessage,
    "delivery": DeliveryMessage,
    "export": ExportMessage,
}


def encode_message(message: WebhookMessage, public_url: str, link_url: str | None = None) -> bytes:
    """Return the JSON body. ``public_url`` is the URL of the REST API, without a slash at its end.

    ``link_url`` is an expiring link to the Recording.
    """
    kind = message.type.partition(".")[0]
    data: Mapping[str, Any] = message.data
    if kind == "recording":
        data = _recording_data(message, public_url, link_url)
    elif kind == "export":
        url = f"{public_url}/exports/{message.data['id']}"
        data = {**message.data, "url": url, "fileUrl": f"{url}/file" if message.data["state"] == "completed" else None}
    document = {"type": message.type, "timestamp": message.at, "sequence": message.sequence, "data": data}
    return msgspec.json.encode(msgspec.convert(document, _TYPES[kind]))


def _recording_data(message: WebhookMessage, public_url: str, link_url: str | None) -> Mapping[str, Any]:
    """Return the data of the event with those of the Recording, while it exists."""
    if message.recording is None:
        return message.data
    current = dict(message.recording)
    url = f"{public_url}/recordings/{message.data['id']}"
    has_audio = current.pop("hasAudio") and message.data["state"] == RecordingState.COMPLETED
    audio_url = f"{url}/audio" if has_audio else None
    return {**current, **message.data, "url": url, "audioUrl": audio_url, "linkUrl": link_url if has_audio else None}
