"""/link-keys and DELETE /sessions: what an administrator does when a secret has become known."""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Struct

from voxrec.api.clock import UtcNow
from voxrec.errors import FieldError
from voxrec.model.fields import Timestamp, doc
from voxrec.store.links import ALL_KEYS, Links
from voxrec.store.sessions import Sessions
from voxrec.web.auth import Role
from voxrec.web.body import JsonBody
from voxrec.web.parameters import uuid
from voxrec.web.request import Request
from voxrec.web.response import JSON, Response, no_content
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


class SecretRotationRoutes:
    """What an administrator does when a secret has become known."""

    def __init__(self, links: Links, sessions: Sessions, now: UtcNow) -> None:
        self._links = links
        self._sessions = sessions
        self._now = now

    def routes(self) -> tuple[Route, ...]:
        """Return the routes."""
        return (
            Route(
                *("POST", "/link-keys", Role.ADMIN, self._rotate_link_keys),
                body=JsonBody(LinkKeyRotation, validators=(self._validate,)),
                response_model=LinkKeyRotationResult,
                summary="Replace the key of expiring links, and revoke links",
                tag="links",
            ),
            Route(
                *("DELETE", "/sessions", Role.ADMIN, self._end_sessions),
                query={"userId": uuid("Only sessions of this user.")},
                summary="End all sessions",
                tag="sessions",
            ),
        )

    async def _rotate_link_keys(self, request: Request) -> Response:
        """New links are signed by a new key. Links that become invalid do so at once, also on pages that are open."""
        rotation: LinkKeyRotation = request.body
        revoked = await self._links.rotate_keys(ALL_KEYS if rotation.revoke_all else rotation.revoke_before)
        result = LinkKeyRotationResult(revoked_links=revoked)
        return Response(200, {"Content-Type": JSON}, msgspec.json.encode(result))

    async def _end_sessions(self, request: Request) -> Response:
        """Every node rejects their cookies within a second. The session of the request ends, too."""
        await self._sessions.delete_all(request.query.get("userId"))
        return no_content()

    def _validate(self, rotation: LinkKeyRotation, _values: Mapping[str, Any]) -> list[FieldError]:
        if rotation.revoke_before is None:
            return []
        if rotation.revoke_all:
            return [FieldError("revokeBefore", "conflicts with revokeAll; send only one of them")]
        if rotation.revoke_before > self._now():
            return [FieldError("revokeBefore", "is in the future")]
        return []
