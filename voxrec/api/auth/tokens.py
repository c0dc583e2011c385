"""/tokens: creation, retrieval and revocation of access tokens."""

from dataclasses import replace
from functools import partial
from typing import Any, Final
from uuid import uuid4

import msgspec

from voxrec.api.resources import Representation
from voxrec.clock import UtcNow
from voxrec.model import Token
from voxrec.store.tokens import UNREVOKED_TOKENS, Tokens, generate_secret
from voxrec.web.auth import Role
from voxrec.web.body import JsonBody
from voxrec.web.pagination import LINK, PAGINATION, Paginator
from voxrec.web.request import Request
from voxrec.web.response import Response, no_content
from voxrec.web.route import CONDITIONAL, ETAG, Route

_READ_ONLY: Final = frozenset({"id", "createdAt", "revokedAt"})
_REPRESENTATION: Final[Representation[Token]] = Representation(msgspec.json.encode)


class TokenWithSecret(Token, frozen=True, kw_only=True, rename="camel"):
    """A new access token. ``token`` is its secret, which is returned only once: only a hash of it is stored."""

    token: str


class TokenRoutes:
    """Access tokens of this API. Revoked tokens are not listed."""

    def __init__(self, tokens: Tokens, public_url: str, now: UtcNow) -> None:
        self._tokens = tokens
        self._public_url = public_url
        self._now = now
        self._paginator = Paginator(tokens, msgspec.json.encode, public_url)

    def routes(self) -> tuple[Route, ...]:
        """Return the routes."""
        return (
            Route(
                *("GET", "/tokens", Role.ADMIN, self._list),
                response_model=list[Token],
                query=PAGINATION,
                response_headers=LINK,
            ),
            Route(
                *("PUT", "/tokens", Role.ADMIN, self._create),
                body=JsonBody(
                    Token,
                    read_only=_READ_ONLY,
                    required=frozenset({"name", "role"}),
                    initial_values=self._initial_values,
                    validators=(lambda token, _: token.field_errors(),),
                ),
                response_model=TokenWithSecret,
                response_headers=("ETag", "Location"),
            ),
            Route(
                *("GET", "/tokens/<id>", Role.ADMIN, self._get),
                response_model=Token,
                request_headers=CONDITIONAL,
                response_headers=ETAG,
            ),
            Route(
                *("DELETE", "/tokens/<id>", Role.ADMIN, self._revoke),
                request_headers=CONDITIONAL,
                summary="Revoke a token",
            ),
        )

    async def _list(self, request: Request) -> Response:
        return await self._paginator.respond(request, UNREVOKED_TOKENS)

    async def _create(self, request: Request) -> Response:
        """The response contains the secret of the token, which cannot be retrieved later."""
        secret = generate_secret()
        stored = await self._tokens.create(request.body, secret)
        response = _REPRESENTATION.created(stored, f"{self._public_url}/tokens/{stored.id}")
        # The ETag is that of the Token without its secret, which later GETs return.
        return replace(
            response, body=msgspec.json.encode(TokenWithSecret(**msgspec.structs.asdict(stored), token=secret))
        )

    def _initial_values(self) -> dict[str, Any]:
        # placeholders for required fields, so that a token without them can be checked for other errors too
        placeholders = {"name": "-", "role": Role.READ}
        return {"id": uuid4(), "created_at": self._now(), **placeholders}

    async def _get(self, request: Request) -> Response:
        return _REPRESENTATION.retrieved(request, await self._tokens.get(request.id))

    async def _revoke(self, request: Request) -> Response:
        """All daemons reject the token within a second."""
        await self._tokens.revoke(request.id, partial(_REPRESENTATION.require_version, request))
        return no_content()
