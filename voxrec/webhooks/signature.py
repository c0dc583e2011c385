"""Signatures of Standard Webhooks 1.0 (https://github.com/standard-webhooks/standard-webhooks, "Signature scheme")."""

import base64
import hmac
from collections.abc import Sequence
from uuid import UUID

from voxrec.model.webhook import SECRET_PREFIX


def signature_headers(secrets: Sequence[str], message_id: UUID, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the headers of a message: its id, the time of the attempt, and a signature with each secret.

    ``timestamp`` is in seconds since 1970. A receiver refuses old ones, which prevents replay attacks.
    """
    content = b".".join([str(message_id).encode(), str(timestamp).encode(), body])
    return {
        "webhook-id": str(message_id),
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(_signature(secret, content) for secret in secrets),
    }


def _signature(secret: str, content: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    return "v1," + base64.b64encode(hmac.digest(key, content, "sha256")).decode()
