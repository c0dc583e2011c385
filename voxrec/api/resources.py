"""What the resources of the REST API have in common: creation, representation, versions, conditional updates."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar
from uuid import UUID, uuid4

import msgspec
from msgspec import Struct

from voxrec.clock import UtcNow
from voxrec.model import Note, Profile, Prompt, RecipientCertificate, Recording, User, Webhook
from voxrec.web.auth import Scoped, SupportsScoping
from voxrec.web.conditions import etag_of
from voxrec.web.partial_update import PartialUpdate
from voxrec.web.request import Request
from voxrec.web.response import Response, conditional_get, created, updated
from voxrec.web.route import Guard

R = TypeVar("R", bound=Struct)
G = TypeVar("G", bound="SupportsGet")
U = TypeVar("U", Note, Profile, Prompt, RecipientCertificate, Recording, User, Webhook)


class SupportsGet(SupportsScoping, Protocol):
    """A repository of resources that belong to Profiles, and have ids."""

    async def get(self, resource_id: UUID, /) -> object:
        """Return a resource. Raises NotFound."""


def require_visible(resources: Scoped[G], parameter: str = "id") -> Guard:
    """Return a guard that raises NotFound unless the client may access the resource of this path parameter."""

    async def guard(request: Request) -> None:
        await resources.visible_to(request.principal).get(request.ids[parameter])

    return guard


def initial_values(now: UtcNow) -> dict[str, Any]:
    """Return the id and the timestamps of a new resource, by attribute."""
    created_at = now()
    return {"id": uuid4(), "created_at": created_at, "updated_at": created_at}


def touched(resource: U, now: UtcNow) -> U:
    """Return the resource with ``updated_at`` set to the current time, or unchanged if that is later already."""
    return msgspec.structs.replace(resource, updated_at=max(resource.updated_at, now()))


def encode_resource(resource: Struct) -> bytes:
    """Return the JSON of a resource. The keys of its objects are sorted: PostgreSQL does not keep their order."""
    return msgspec.json.encode(resource, order="deterministic")


@dataclass(frozen=True, slots=True)
class Representation(Generic[R]):
    """The JSON representation of one kind of resource, and the responses that contain it.

    ``encode`` returns the JSON. Equal resources must have equal JSON, because their ETag is derived from it.
    """

    encode: Callable[[R], bytes]

    def retrieved(self, request: Request, resource: R) -> Response:
        """Return the response to a GET: 200, or 304 if the client has this version. Raises PreconditionFailed."""
        return conditional_get(request.conditions, self.encode(resource))

    def created(self, resource: R, location: str) -> Response:
        """Return the response to a creation: 201 with the URL of the resource."""
        return created(location, self.encode(resource))

    def updated(self, resource: R) -> Response:
        """Return the response to a change."""
        return updated(self.encode(resource))

    def require_version(self, request: Request, current: R) -> None:
        """Raise PreconditionFailed if If-Match or If-None-Match of a change excludes the current version."""
        request.conditions.require(etag_of(self.encode(current)))


def apply_update(
    request: Request, update: PartialUpdate[U], current: U, representation: Representation[U], now: UtcNow
) -> U:
    """Return ``current`` with the update applied, and record the names of the changed fields for the audit log.

    Call it in the transaction that locks the resource. Raises PreconditionFailed, or InvalidInput with all errors.
    """
    before = representation.encode(current)
    request.conditions.require(etag_of(before))
    changed = update.apply(current, before)
    request.audit_details.changed(current, changed)
    return current if changed == current else touched(changed, now)
