"""/profiles: whom to call, and how to record."""

from collections.abc import Mapping
from functools import partial
from typing import Any, Final
from uuid import uuid4

import msgspec

from voxrec.api.validation import ProfileRules, channel_errors
from voxrec.conversion import fit
from voxrec.errors import Conflict, FieldError
from voxrec.model import Profile
from voxrec.store.profiles import ProfileFilter, Profiles
from voxrec.web import query
from voxrec.web.auth import Role, Scoped
from voxrec.web.conditions import etag_of
from voxrec.web.exchange import (
    CHANGING,
    READING,
    TAG,
    JsonBody,
    Now,
    Request,
    Response,
    Route,
    changed,
    created,
    gone,
    shown,
)
from voxrec.web.pagination import LINK, PAGED, Paginator
from voxrec.web.partial_update import PartialUpdate, require

_OURS: Final = frozenset({"createdAt", "updatedAt"})
_FILTERS: Final = {"number": query.text, "email": query.text, "remoteSipUri": query.text}


class ProfileRoutes:
    """The routes of Profiles, and their collection."""

    def __init__(self, profiles: Scoped[Profiles], rules: ProfileRules, public_url: str, now: Now) -> None:
        self._profiles = profiles
        self._rules = rules
        self._public_url = public_url
        self._now = now

    def routes(self) -> tuple[Route, ...]:
        """The route table."""
        seen = partial(Route, limited=True)
        return (
            seen("GET", "/profiles", Role.READ, self._list, shows=list[Profile], query=_FILTERS | PAGED, tells=LINK),
            Route(
                *("PUT", "/profiles", Role.PROVISION, self._create),
                takes=JsonBody(Profile, refuse=_OURS),
                shows=Profile,
                once=True,
                whole=True,
                tells=("ETag", "Location"),
                fails=(Conflict,),
            ),
            seen("GET", "/profiles/<id>", Role.READ, self._show, shows=Profile, asks=READING, tells=TAG),
            seen(
                *("POST", "/profiles/<id>", Role.PROVISION, self._change),
                takes=JsonBody(Profile, refuse=_OURS | {"id"}),
                shows=Profile,
                asks=CHANGING,
                whole=True,
                tells=TAG,
                fails=(Conflict,),
            ),
            seen("DELETE", "/profiles/<id>", Role.PROVISION, self._delete, asks=CHANGING),
        )

    async def _list(self, ask: Request) -> Response:
        listing = Paginator(self._profiles.of(ask.principal), representation, self._public_url)
        return await listing.asked(ask, _FILTERS, _wanted)

    async def _create(self, ask: Request) -> Response:
        query.read(ask.query(), {})
        values, field_errors = fit(Profile, ask.json_object(), refuse=_OURS)
        field_errors += await self._rules.field_errors(values)
        now = self._now()
        profile = Profile(**{"id": uuid4(), "created_at": now, "updated_at": now, **values})
        require([*field_errors, *profile.field_errors(), *channel_errors(values, profile)])
        return self._told(await self._profiles.of(ask.principal).create(profile, ask.along(self._told)))

    def _told(self, stored: Profile) -> Response:
        return created(f"{self._public_url}/profiles/{stored.id}", representation(stored))

    async def _show(self, ask: Request) -> Response:
        query.read(ask.query(), {})
        return shown(ask, representation(await self._profiles.of(ask.principal).get(ask.id)))

    async def _change(self, ask: Request) -> Response:
        query.read(ask.query(), {})
        edit = PartialUpdate.of(Profile, ask.json_object(), _OURS | {"id"})
        broken = await self._rules.field_errors(edit.values)
        stored = await self._profiles.of(ask.principal).update(
            ask.id, lambda current: self._edited(ask, edit, broken, current), ask.along(_changed)
        )
        return _changed(stored)

    def _edited(
        self, ask: Request, edit: PartialUpdate[Profile], broken: list[FieldError], current: Profile
    ) -> Profile:
        """What becomes of a Profile that nobody else can change now."""
        before = representation(current)
        ask.conditions.require(etag_of(before))
        after, field_errors = edit.apply(current, before)
        require([*field_errors, *broken, *after.field_errors(), *channel_errors(edit.values, after)])
        ask.trail.changed(current, after)
        if after == current:
            return current
        return msgspec.structs.replace(after, updated_at=max(current.updated_at, self._now()))

    async def _delete(self, ask: Request) -> Response:
        query.read(ask.query(), {})
        await self._profiles.of(ask.principal).delete(
            ask.id, lambda current: ask.conditions.require(etag_of(representation(current)))
        )
        return gone()


def representation(profile: Profile) -> bytes:
    """A Profile as REST shows it: equal Profiles give equal bytes, in whatever order their metadata came."""
    return msgspec.json.encode(profile, order="deterministic")


def _changed(stored: Profile) -> Response:
    return changed(representation(stored))


def _wanted(values: Mapping[str, Any]) -> ProfileFilter:
    return ProfileFilter(
        number=values.get("number"), email=values.get("email"), remote_sip_uri=values.get("remoteSipUri")
    )
