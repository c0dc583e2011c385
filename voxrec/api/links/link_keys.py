"""/link-keys: replacement of the key that signs expiring links, such as after it has become known."""

from collections.abc import Mapping
from typing import Annotated, Any

from msgspec import Struct

from voxrec.clock import UtcNow
from voxrec.error_codes import FieldErrorCode
from voxrec.errors import FieldError
from voxrec.model.fields import Timestamp, doc
from voxrec.store.links import ALL_KEYS, Links
from voxrec.web.auth import Role
from voxrec.web.body import JsonBody
from voxrec.web.request import Request
from voxrec.web.response import Response, json_response
from voxrec.web.route import Route


class LinkKeyRotation(Struct, frozen=True, kw_only=True, rename="camel"):
    """A replacement of the key that signs expiring links."""

    revoke_all: Annotated[bool, doc("Whether all links that exist become invalid. False: see `revokeBefore`.")] = False
    revoke_before: Annotated[
        Timestamp | None,
        doc(
            "Links that were signed by a key which was created before this time become invalid, such as the keys in a "
            "backup of that time. Null: all links stay valid, unless `revokeAll` is true."
        ),
    ] = None


class LinkKeyRotationResult(Struct, frozen=True, kw_only=True, rename="camel"):
    """The result of a replacement of the key."""

    revoked_links: Annotated[int, doc("Number of links that were valid before, and are not any more.")]


class LinkKeyRoutes:
    """The key of expiring links."""

    def __init__(self, links: Links, now: UtcNow) -> None:
        self._links = links
        self._now = now

    def routes(self) -> tuple[Route, ...]:
        """Return the route."""
        return (
            Route(
                *("POST", "/link-keys", Role.ADMIN, self._rotate),
                body=JsonBody(LinkKeyRotation, validators=(self._validate,)),
                response_model=LinkKeyRotationResult,
                summary="Replace the key of expiring links, and revoke links",
                tag="links",
            ),
        )

    async def _rotate(self, request: Request) -> Response:
        """New links are signed by a new key. Links that become invalid do so at once, also on pages that are open."""
        rotation: LinkKeyRotation = request.body
        revoked = await self._links.rotate_keys(ALL_KEYS if rotation.revoke_all else rotation.revoke_before)
        return json_response(LinkKeyRotationResult(revoked_links=revoked))

    def _validate(self, rotation: LinkKeyRotation, _values: Mapping[str, Any]) -> list[FieldError]:
        if rotation.revoke_before is None:
            return []
        if rotation.revoke_all:
            return [
                FieldError(
                    *("revokeBefore", "conflicts with revokeAll; send only one of them"),
                    FieldErrorCode.CONFLICTS_WITH,
                    {"other": "revokeAll"},
                )
            ]
        if rotation.revoke_before > self._now():
            return [FieldError("revokeBefore", "is in the future", FieldErrorCode.IN_FUTURE)]
        return []
