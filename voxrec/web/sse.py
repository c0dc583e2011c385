"""Server-Sent Events (HTML Living Standard, section 9.2): the encoding of an event stream."""

from typing import Final

EVENT_STREAM: Final = "text/event-stream"
HEADERS: Final = {"Content-Type": EVENT_STREAM, "X-Accel-Buffering": "no"}  # nginx would buffer the stream
"""The headers of a response that is an event stream."""
HEARTBEAT: Final = b":\n\n"
"""A comment, which clients ignore."""


def encode_event(event_type: str, data: bytes, event_id: int | None = None) -> bytes:
    """Encode an event. ``data`` is one line. Without ``event_id``, the client's last event id does not change."""
    prefix = b"" if event_id is None else b"id: %d\n" % event_id
    return b"%bevent: %b\ndata: %b\n\n" % (prefix, event_type.encode(), data)


def encode_retry(milliseconds: int) -> bytes:
    """Encode the time after which a disconnected client reconnects."""
    return b"retry: %d\n\n" % milliseconds
