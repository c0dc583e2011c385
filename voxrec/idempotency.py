"""Idempotency keys of requests and the stored outcomes of those requests; shared by the HTTP layer and the store."""

from collections.abc import Mapping
from dataclasses import dataclass

from voxrec.errors import Conflict


class RequestInProgress(Conflict):
    """Another request with the same idempotency key is being processed, by this or another daemon."""

    code = "under-way"


class AlreadyProcessed(Exception):
    """Another request with the same idempotency key has committed since the record of the key was looked up."""


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """A key as it came with one request.

    ``scope`` is the namespace of ``key``: the client and the operation. ``fingerprint`` is a hash of the request, which
    tells a repeated request from a different one that reuses the key.
    """

    scope: str
    key: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class IdempotencyRecord:
    """A stored outcome, and the fingerprint of the request that led to it.

    voxrec.web converts ``status``, ``headers`` and ``body`` to and from a response; ``body`` None: it was streamed, and
    is read again for a repeated request. After the created resource was deleted, only ``status`` remains.
    """

    fingerprint: str
    status: int
    headers: Mapping[str, str]
    body: bytes | None

    @property
    def erased(self) -> bool:
        """Whether the resource that the request created was deleted, and its data with it."""
        return not self.fingerprint
