"""/profiles: whom to call, and how to record."""

from collections.abc import Mapping
from functools import partial
from typing import Any, Final
from uuid import uuid4

import msgspec

from voxrec.api.validation import ProfileValidator, channel_errors
from voxrec.conversion import convert_fields
from voxrec.errors import Conflict, FieldError
from voxrec.model import Profile
from voxrec.store.profiles import ProfileFilter, Profiles
from voxrec.web import query
from voxrec.web.auth import Role, Scoped
from voxrec.web.conditions import etag_of
from voxrec.web.pagination import LINK, PAGED, Paginator
from voxrec.web.partial_update import PartialUpdate, require
from voxrec.web.request import Now, Request
from voxrec.web.response import Response, conditional_get, created, no_content, updated
from voxrec.web.route import CONDITIONAL, ETAG, JsonBody, Route

_OURS: Final = frozenset({"createdAt", "updatedAt"})
_FILTERS: Final = {"number": query.text, "email": query.text, "remoteSipUri": query.text}


class ProfileRoutes:
    """The routes of Profiles, and their collection."""

    def __init__(self, profiles: Scoped[Profiles], validator: ProfileValidator, public_url: str, now: Now) -> None:
        self._profiles = profiles
        self._validator = validator
        self._public_url = public_url
        self._now = now

    def routes(self) -> tuple[Route, ...]:
        """The route table."""
        seen = partial(Route, profile_scoped=True)
        return (
            seen(
                "GET",
                "/profiles",
                Role.READ,
                self._list,
                response_model=list[Profile],
                query=_FILTERS | PAGED,
                response_headers=LINK,
            ),
            Route(
                *("PUT", "/profiles", Role.PROVISION, self._create),
                body=JsonBody(Profile, refuse=_OURS),
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
                body=JsonBody(Profile, refuse=_OURS | {"id"}),
                response_model=Profile,
                request_headers=CONDITIONAL,
                audit_in_transaction=True,
                response_headers=ETAG,
                errors=(Conflict,),
            ),
            seen("DELETE", "/profiles/<id>", Role.PROVISION, self._delete, request_headers=CONDITIONAL),
        )

    async def _list(self, request: Request) -> Response:
        listing = Paginator(self._profiles.of(request.principal), representation, self._public_url)
        return await listing.asked(request, _FILTERS, _wanted)

    async def _create(self, request: Request) -> Response:
        query.read(request.query(), {})
        values, field_errors = convert_fields(Profile, request.json_object(), read_only=_OURS)
        field_errors += await self._validator.field_errors(values)
        now = self._now()
        profile = Profile(**{"id": uuid4(), "created_at": now, "updated_at": now, **values})
        require([*field_errors, *profile.field_errors(), *channel_errors(values, profile)])
        return self._told(
            await self._profiles.of(request.principal).create(profile, request.transaction_hook(self._told))
        )

    def _told(self, stored: Profile) -> Response:
        return created(f"{self._public_url}/profiles/{stored.id}", representation(stored))

    async def _show(self, request: Request) -> Response:
        query.read(request.query(), {})
        return conditional_get(
            request.conditions, representation(await self._profiles.of(request.principal).get(request.id))
        )

    async def _change(self, request: Request) -> Response:
        query.read(request.query(), {})
        edit = PartialUpdate.of(Profile, request.json_object(), _OURS | {"id"})
        broken = await self._validator.field_errors(edit.values)
        stored = await self._profiles.of(request.principal).update(
            request.id, lambda current: self._edited(request, edit, broken, current), request.transaction_hook(_changed)
        )
        return _changed(stored)

    def _edited(
        self, request: Request, edit: PartialUpdate[Profile], broken: list[FieldError], current: Profile
    ) -> Profile:
        """What becomes of a Profile that nobody else can change now."""
        before = representation(current)
        request.conditions.require(etag_of(before))
        after, field_errors = edit.apply(current, before)
        require([*field_errors, *broken, *after.field_errors(), *channel_errors(edit.values, after)])
        request.audit_details.changed(current, after)
        if after == current:
            return current
        return msgspec.structs.replace(after, updated_at=max(current.updated_at, self._now()))

    async def _delete(self, request: Request) -> Response:
        query.read(request.query(), {})
        await self._profiles.of(request.principal).delete(
            request.id, lambda current: request.conditions.require(etag_of(representation(current)))
        )
        return no_content()


def representation(profile: Profile) -> bytes:
    """A Profile as REST shows it: equal Profiles give equal bytes, in whatever order their metadata came."""
    return msgspec.json.encode(profile, order="deterministic")


def _changed(stored: Profile) -> Response:
    return updated(representation(stored))


def _wanted(values: Mapping[str, Any]) -> ProfileFilter:
    return ProfileFilter(
        number=values.get("number"), email=values.get("email"), remote_sip_uri=values.get("remoteSipUri")
    )
