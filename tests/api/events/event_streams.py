"""Decoding of event streams (Server-Sent Events) in tests."""

from typing import Any

import msgspec


def decode_events(stream: bytes) -> list[dict[str, Any]]:
    """Return the data of each complete event, with its `id` field as ``sse_id`` and its `event` field as ``event``."""
    events = []
    for block in stream.decode().replace("\r\n", "\n").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line)
        if "data" in fields and "event" in fields:
            data = msgspec.json.decode(fields["data"])
            events.append({"sse_id": fields.get("id"), "event": fields["event"], **data})
    return events
