"""/recordings/<id>/links: creation, listing and revocation of the expiring links to a Recording."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Annotated, Any

import msgspec
from msgspec import Struct

from voxrec.api.audio.audio_files import NoAudioYet, require_audio
from voxrec.api.resources import require_visible
from voxrec.api.transaction_hooks import transaction_hook
from voxrec.clock import UtcNow
from voxrec.error_codes import FieldErrorCode
from voxrec.errors import FieldError
from voxrec.model import Link, LinkOrigin, LinkUse, Recording
from voxrec.model.fields import Text255, Timestamp, doc
from voxrec.model.link import UseLimit
from voxrec.store.links import Links, NewLink
from voxrec.store.recordings import Recordings
from voxrec.web.auth import Role, Scoped
from voxrec.web.body import JsonBody
from voxrec.web.pagination import LINK, PAGINATION, Paginator
from voxrec.web.request import Request
from voxrec.web.response import Response, json_response, no_content
from voxrec.web.route import Route


class LinkRequest(Struct, frozen=True, kw_only=True, rename="camel"):
    """An expiring link to create."""

    description: Annotated[Text255 | None, doc("Description for people, such as the receiver of the link.")] = None
    expires_at: Annotated[
        Timestamp | None, doc("Time after which the link is not valid any more. Null: after `links.days`.")
    ] = None
    max_uses: Annotated[UseLimit | None, doc("How often the page can be opened. Null: any number of times.")] = None


@dataclass(frozen=True, slots=True)
class LinkLifetimes:
    """The time until a link expires: the ``default`` and the ``maximum``."""

    default: timedelta = timedelta(days=7)
    maximum: timedelta = timedelta(days=90)


class LinkRoutes:
    """Expiring links, which open the page of a recording in a browser without a token."""

    def __init__(
        self, links: Links, recordings: Scoped[Recordings], lifetimes: LinkLifetimes, public_url: str, now: UtcNow
    ) -> None:
        self._links = links
        self._recordings = recordings
        self._lifetimes = lifetimes
        self._public_url = public_url
        self._now = now

    def routes(self) -> tuple[Route, ...]:
        """Return the routes. They require the role provision: a link gives access to others."""
        route = partial(Route, profile_scoped=True, tag="links", guard=require_visible(self._recordings))
        collection, item = "/recordings/<id>/links", "/recordings/<id>/links/<linkId>"
        return (
            route(
                *("GET", collection, Role.PROVISION, self._list),
                response_model=list[Link],
                query=PAGINATION,
                response_headers=LINK,
                summary="List the expiring links of a recording",
            ),
            route(
                *("POST", collection, Role.PROVISION, self._create),
                body=JsonBody(LinkRequest, validators=(self._validate,)),
                status=201,
                response_model=Link,
                response_headers=("Location",),
                errors=(NoAudioYet,),
                idempotent=True,
                audit_in_transaction=True,
                summary="Create an expiring link",
            ),
            route(
                *("GET", item, Role.PROVISION, self._get),
                response_model=Link,
                summary="Get an expiring link",
            ),
            route(*("DELETE", item, Role.PROVISION, self._revoke), summary="Revoke an expiring link"),
            route(
                *("GET", f"{item}/uses", Role.PROVISION, self._list_uses),
                response_model=list[LinkUse],
                query=PAGINATION,
                response_headers=LINK,
                summary="List the uses of an expiring link",
            ),
        )

    async def _list(self, request: Request) -> Response:
        """Links are listed until 90 days after their expiry, also those in mails and webhooks."""
        links = self._links.of_recording(request.id)
        return await Paginator(links, msgspec.json.encode, self._public_url).respond(request, None)

    async def _create(self, request: Request) -> Response:
        """Everybody who has the `url` of the response can listen to this recording."""
        wanted: LinkRequest = request.body
        recording = await self._recording(request)
        require_audio(recording)
        new = NewLink(
            recording_id=recording.id,
            origin=LinkOrigin.REST,
            created_by=request.principal.name,
            description=wanted.description,
            expires_at=wanted.expires_at or self._now() + self._lifetimes.default,
            max_uses=wanted.max_uses,
        )
        return self._created(await self._links.create(new, transaction_hook(request, self._created)))

    def _created(self, link: Link) -> Response:
        location = f"{self._public_url}/recordings/{link.recording_id}/links/{link.id}"
        return json_response(link, 201, {"Location": location})

    async def _get(self, request: Request) -> Response:
        return json_response(await self._links.get(request.id, request.ids["linkId"]))

    async def _revoke(self, request: Request) -> Response:
        """The link is not valid any more at once, also for browsers that have opened it."""
        await self._links.revoke(request.id, request.ids["linkId"])
        return no_content()

    async def _list_uses(self, request: Request) -> Response:
        """A use is the opening of the page; playing, seeking and downloading then are not further uses."""
        await self._links.get(request.id, request.ids["linkId"])
        uses = self._links.uses(request.ids["linkId"])
        return await Paginator(uses, msgspec.json.encode, self._public_url).respond(request, None)

    async def _recording(self, request: Request) -> Recording:
        return await self._recordings.visible_to(request.principal).get(request.id)

    def _validate(self, wanted: LinkRequest, _values: Mapping[str, Any]) -> list[FieldError]:
        if wanted.expires_at is None:
            return []
        if wanted.expires_at <= self._now():
            return [FieldError("expiresAt", "is not in the future", FieldErrorCode.NOT_IN_FUTURE)]
        if wanted.expires_at > self._now() + self._lifetimes.maximum:
            days = self._lifetimes.maximum.days
            message = f"is more than {days} days in the future, the maximum (links.max_days)"
            return [FieldError("expiresAt", message, FieldErrorCode.TOO_LATE, {"days": days})]
        return []
