"""/profiles: whom to call, and how to record."""

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import msgspec

from voxrec.api.clock import UtcNow
from voxrec.api.resources import initial_values
from voxrec.api.transaction_hooks import transaction_hook
from voxrec.api.validation import ProfileValidator, validate_profile
from voxrec.errors import Conflict
from voxrec.model import Profile
from voxrec.store.profiles import ProfileFilter, Profiles
from voxrec.web.auth import Role, Scoped
from voxrec.web.body import JsonBody, PartialUpdateBody
from voxrec.web.conditions import etag_of
from voxrec.web.pagination import LINK, PAGINATION, Paginator
from voxrec.web.parameters import text
from voxrec.web.partial_update import PartialUpdate
from voxrec.web.request import Request
from voxrec.web.response import Response, conditional_get, created, no_content, updated
from voxrec.web.route import CONDITIONAL, ETAG, Route

_OURS: Final = frozenset({"createdAt", "updatedAt"})
_FILTERS: Final = {"number": text, "email": text, "remoteSipUri": text}

_CUSTOM_PROMPT_SCHEMA: Final[Mapping[str, Any]] = {
    "if": {"properties": {"recordPrompt": {"const": "custom"}}, "required": ["recordPrompt"]},
    "then": {"properties": {"recordPromptCustomId": {"type": "string"}}, "required": ["recordPromptCustomId"]},
}
"""JSON Schema: a new Profile with a custom prompt names it."""


class ProfileRoutes:
    """The routes of Profiles, and their collection."""

    def __init__(self, profiles: Scoped[Profiles], validator: ProfileValidator, public_url: str, now: UtcNow) -> None:
        self._profiles = profiles
        self._validator = validator
        self._public_url = public_url
        self._now = now

    def routes(self) -> tuple[Route, ...]:
        """The route table."""
        seen = partial(Route, profile_scoped=True)
        properties = {"recordFormat": {"enum": list(self._validator.formats)}}
        return (
            seen(
                "GET",
                "/profiles",
                Role.READ,
                self._list,
                response_model=list[Profile],
                query=_FILTERS | PAGINATION,
                response_headers=LINK,
            ),
            Route(
                *("PUT", "/profiles", Role.PROVISION, self._create),
                body=JsonBody(
                    Profile,
                    read_only=_OURS,
                    initial_values=partial(initial_values, self._now),
                    value_validators=(self._validator.validate_values,),
                    validators=(validate_profile,),
                    properties=properties,
                    keywords=_CUSTOM_PROMPT_SCHEMA,
                ),
                response_model=Profile,
                idempotent=True,
                audit_in_transaction=True,
                response_headers=("ETag", "Location"),
                errors=(Conflict,),
            ),
            seen(
                "GET",
                "/profiles/<id>",
                Role.READ,
                self._show,
                response_model=Profile,
                request_headers=CONDITIONAL,
                response_headers=ETAG,
            ),
            seen(
                *("POST", "/profiles/<id>", Role.PROVISION, self._change),
                body=PartialUpdateBody(
                    Profile,
                    read_only=_OURS | {"id"},
                    value_validators=(self._validator.validate_values,),
                    validators=(validate_profile,),
                    properties=properties,
                ),
                response_model=Profile,
                request_headers=CONDITIONAL,
                audit_in_transaction=True,
                response_headers=ETAG,
                errors=(Conflict,),
            ),
            seen("DELETE", "/profiles/<id>", Role.PROVISION, self._delete, request_headers=CONDITIONAL),
        )

    async def _list(self, request: Request) -> Response:
        listing = Paginator(self._profiles.visible_to(request.principal), representation, self._public_url)
        return await listing.respond(request, _filter(request.query))

    async def _create(self, request: Request) -> Response:
        profile: Profile = request.body
        return self._told(
            await self._profiles.visible_to(request.principal).create(profile, transaction_hook(request, self._told))
        )

    def _told(self, stored: Profile) -> Response:
        return created(f"{self._public_url}/profiles/{stored.id}", representation(stored))

    async def _show(self, request: Request) -> Response:
        return conditional_get(
            request.conditions, representation(await self._profiles.visible_to(request.principal).get(request.id))
        )

    async def _change(self, request: Request) -> Response:
        stored = await self._profiles.visible_to(request.principal).update(
            request.id, partial(self._edited, request), transaction_hook(request, _changed)
        )
        return _changed(stored)

    def _edited(self, request: Request, current: Profile) -> Profile:
        """What becomes of a Profile that nobody else can change now."""
        before = representation(current)
        request.conditions.require(etag_of(before))
        update: PartialUpdate[Profile] = request.body
        after = update.apply(current, before)
        request.audit_details.changed(current, after)
        if after == current:
            return current
        return msgspec.structs.replace(after, updated_at=max(current.updated_at, self._now()))

    async def _delete(self, request: Request) -> Response:
        await self._profiles.visible_to(request.principal).delete(
            request.id, lambda current: request.conditions.require(etag_of(representation(current)))
        )
        return no_content()


def representation(profile: Profile) -> bytes:
    """A Profile as REST shows it: equal Profiles give equal bytes, in whatever order their metadata came."""
    return msgspec.json.encode(profile, order="deterministic")


def _changed(stored: Profile) -> Response:
    return updated(representation(stored))


def _filter(query: Mapping[str, Any]) -> ProfileFilter:
    return ProfileFilter(number=query.get("number"), email=query.get("email"), remote_sip_uri=query.get("remoteSipUri"))
