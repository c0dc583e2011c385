"""/profiles: creation, retrieval, update and deletion of Profiles."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from voxrec.api.parameters import mail_address_list, phone_number, search_text, sip_uri
from voxrec.api.profiles.profile_validation import ProfileValidator, validate_profile
from voxrec.api.resources import Representation, apply_update, encode_resource, initial_values
from voxrec.api.transaction_hooks import transaction_hook
from voxrec.clock import UtcNow
from voxrec.errors import Conflict
from voxrec.model import Profile
from voxrec.store.profiles import ProfileFilter, Profiles
from voxrec.web.auth import Role, Scoped
from voxrec.web.body import JsonBody, PartialUpdateBody
from voxrec.web.pagination import LINK, PAGINATION, Paginator
from voxrec.web.partial_update import PartialUpdate
from voxrec.web.request import Request
from voxrec.web.response import Response, no_content
from voxrec.web.route import CONDITIONAL, ETAG, Route

ProfileObserver = Callable[[Profile], object]
"""Called with a Profile that was created or changed, before the response is sent."""

_READ_ONLY: Final = frozenset({"createdAt", "updatedAt"})
_FILTERS: Final = {
    "number": phone_number,
    "email": mail_address_list,
    "remoteSipUri": sip_uri,
    "search": search_text,
}
_CUSTOM_PROMPT_SCHEMA: Final[Mapping[str, Any]] = {
    "if": {"properties": {"recordPrompt": {"const": "custom"}}, "required": ["recordPrompt"]},
    "then": {"properties": {"recordPromptCustomId": {"type": "string"}}, "required": ["recordPromptCustomId"]},
}
"""JSON Schema: a new Profile with recordPrompt "custom" requires recordPromptCustomId."""


_REPRESENTATION: Final[Representation[Profile]] = Representation(encode_resource)


class ProfileRoutes:
    """Profiles: whom to call and how to record, for a dialled id or number."""

    def __init__(
        self,
        profiles: Scoped[Profiles],
        validator: ProfileValidator,
        public_url: str,
        now: UtcNow,
        on_stored: ProfileObserver,
    ) -> None:
        self._profiles = profiles
        self._validator = validator
        self._public_url = public_url
        self._now = now
        self._on_stored = on_stored

    def routes(self) -> tuple[Route, ...]:
        """Return the routes."""
        route = partial(Route, profile_scoped=True)
        with_representation = partial(route, response_model=Profile, request_headers=CONDITIONAL, response_headers=ETAG)
        validation: dict[str, Any] = {
            "value_validators": (self._validator.validate_values,),
            "validators": (validate_profile,),
            "properties": {"recordFormat": {"title": "RecordingFormat", "enum": list(self._validator.formats)}},
        }
        return (
            route(
                *("GET", "/profiles", Role.READ, self._list),
                response_model=list[Profile],
                query=_FILTERS | PAGINATION,
                response_headers=LINK,
            ),
            Route(
                *("PUT", "/profiles", Role.PROVISION, self._create),
                body=JsonBody(
                    Profile,
                    read_only=_READ_ONLY,
                    initial_values=partial(initial_values, self._now),
                    keywords=_CUSTOM_PROMPT_SCHEMA,
                    **validation,
                ),
                response_model=Profile,
                idempotent=True,
                audit_in_transaction=True,
                response_headers=("ETag", "Location"),
                errors=(Conflict,),
            ),
            with_representation("GET", "/profiles/<id>", Role.READ, self._get),
            with_representation(
                *("POST", "/profiles/<id>", Role.PROVISION, self._update),
                body=PartialUpdateBody(Profile, read_only=_READ_ONLY | {"id"}, **validation),
                idempotent=True,
                audit_in_transaction=True,
                errors=(Conflict,),
            ),
            route("DELETE", "/profiles/<id>", Role.PROVISION, self._delete, request_headers=CONDITIONAL),
        )

    async def _list(self, request: Request) -> Response:
        profiles = self._profiles.visible_to(request.principal)
        return await Paginator(profiles, encode_resource, self._public_url).respond(
            request, _profile_filter(request.query)
        )

    async def _create(self, request: Request) -> Response:
        """A client may choose the `id`, which must be a UUID of version 4."""
        profiles = self._profiles.visible_to(request.principal)
        stored = await profiles.create(request.body, transaction_hook(request, self._created))
        self._on_stored(stored)
        return self._created(stored)

    def _created(self, stored: Profile) -> Response:
        return _REPRESENTATION.created(stored, f"{self._public_url}/profiles/{stored.id}")

    async def _get(self, request: Request) -> Response:
        profile = await self._profiles.visible_to(request.principal).get(request.id)
        return _REPRESENTATION.retrieved(request, profile)

    async def _update(self, request: Request) -> Response:
        """Fields that are not given are not changed."""
        profiles = self._profiles.visible_to(request.principal)
        hook = transaction_hook(request, _REPRESENTATION.updated)
        stored = await profiles.update(request.id, partial(self._apply_update, request), hook)
        self._on_stored(stored)
        return _REPRESENTATION.updated(stored)

    def _apply_update(self, request: Request, current: Profile) -> Profile:
        update: PartialUpdate[Profile] = request.body
        return apply_update(request, update, current, _REPRESENTATION, self._now)

    async def _delete(self, request: Request) -> Response:
        """The recordings of the profile are kept."""
        profiles = self._profiles.visible_to(request.principal)
        await profiles.delete(request.id, partial(_REPRESENTATION.require_version, request))
        return no_content()


def _profile_filter(query: Mapping[str, Any]) -> ProfileFilter:
    return ProfileFilter(
        number=query.get("number"),
        emails=query.get("email"),
        remote_sip_uri=query.get("remoteSipUri"),
        search=query.get("search"),
    )
