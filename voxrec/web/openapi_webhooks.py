"""The webhooks of an OpenAPI document: the requests that the API sends (OpenAPI 3.1, section 4.8.1)."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from msgspec import Struct

from voxrec.web.openapi_schemas import Json, Schemas
from voxrec.web.response import JSON

FIELD: Final = "x-webhooks"
"""The field of the document, as in Redoc: of the standard field, openapi-generator makes invalid Python."""
_HEADERS: Final = {
    "webhook-id": "Id of the message, the same for each attempt.",
    "webhook-timestamp": "Time of the attempt, in seconds since 1970.",
    "webhook-signature": "One or two signatures of Standard Webhooks, separated by a space.",
}


@dataclass(frozen=True, slots=True)
class WebhookOperation:
    """A request that the API sends: its name, such as ``recording.completed``, the type of its body, and a summary."""

    name: str
    model: type[Struct]
    summary: str


def webhook_items(operations: Iterable[WebhookOperation], schemas: Schemas) -> Json:
    """Return the value of `FIELD`: the operation of each webhook by its name."""
    return {operation.name: {"post": _operation(operation, schemas)} for operation in operations}


def _operation(operation: WebhookOperation, schemas: Schemas) -> Json:
    words = operation.name.split(".")
    schema = schemas.of_type(operation.model)
    content: dict[str, Any] = {JSON: {"schema": schema}}
    return {
        "operationId": "on" + "".join(word.capitalize() for word in words),
        "tags": ["webhooks"],
        "summary": operation.summary,
        "parameters": [
            {"name": name, "in": "header", "required": True, "description": text, "schema": {"type": "string"}}
            for name, text in _HEADERS.items()
        ],
        "security": [],
        "requestBody": {"required": True, "content": content},
        "responses": {
            "2XX": {"description": "The message was accepted. Any other status is retried, or ends the webhook (410)."}
        },
    }
