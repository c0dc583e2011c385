"""/tokens: who may use REST."""

from dataclasses import replace
from typing import Any, Final
from uuid import uuid4

import msgspec

from voxrec.api.clock import UtcNow
from voxrec.model import Token
from voxrec.store.tokens import UNREVOKED_TOKENS, Tokens, generate_secret
from voxrec.web.auth import Role
from voxrec.web.body import JsonBody
from voxrec.web.conditions import etag_of
from voxrec.web.pagination import LINK, PAGINATION, Paginator
from voxrec.web.request import Request
from voxrec.web.response import Response, conditional_get, created, no_content
from voxrec.web.route import CONDITIONAL, ETAG, Route

_OURS: Final = frozenset({"id", "createdAt", "revokedAt"})


class MadeToken(Token, frozen=True, kw_only=True, rename="camel"):
    """A Token that was just made: only this once, with its secret."""

    token: str


class TokenRoutes:
    """The routes of Tokens, and their collection. What is revoked is gone for whoever looks here."""

    def __init__(self, tokens: Tokens, public_url: str, now: UtcNow) -> None:
        self._tokens = tokens
        self._public_url = public_url
        self._now = now
        self._listing = Paginator(tokens, msgspec.json.encode, public_url)

    def routes(self) -> tuple[Route, ...]:
        """The route table."""
        return (
            Route(
                "GET",
                "/tokens",
                Role.ADMIN,
                self._list,
                response_model=list[Token],
                query=PAGINATION,
                response_headers=LINK,
            ),
            Route(
                *("PUT", "/tokens", Role.ADMIN, self._create),
                body=JsonBody(
                    Token,
                    read_only=_OURS,
                    required=frozenset({"name", "role"}),
                    initial_values=self._initial_values,
                    validators=(lambda token, _: token.field_errors(),),
                ),
                response_model=MadeToken,
                response_headers=("ETag", "Location"),
            ),
            Route(
                "GET",
                "/tokens/<id>",
                Role.ADMIN,
                self._show,
                response_model=Token,
                request_headers=CONDITIONAL,
                response_headers=ETAG,
            ),
            Route("DELETE", "/tokens/<id>", Role.ADMIN, self._revoke, request_headers=CONDITIONAL),
        )

    async def _list(self, request: Request) -> Response:
        return await self._listing.respond(request, UNREVOKED_TOKENS)

    async def _create(self, request: Request) -> Response:
        token: Token = request.body
        secret = generate_secret()
        stored = await self._tokens.create(token, secret)
        answer = created(f"{self._public_url}/tokens/{stored.id}", msgspec.json.encode(stored))
        # its tag is that of the Token, which every later GET shows
        return replace(answer, body=msgspec.json.encode(MadeToken(**msgspec.structs.asdict(stored), token=secret)))

    def _initial_values(self) -> dict[str, Any]:
        # placeholders for required fields, so that a token without them can be checked for other errors too
        placeholders = {"name": "-", "role": Role.READ}
        return {"id": uuid4(), "created_at": self._now(), **placeholders}

    async def _show(self, request: Request) -> Response:
        return conditional_get(request.conditions, msgspec.json.encode(await self._tokens.get(request.id)))

    async def _revoke(self, request: Request) -> Response:
        await self._tokens.revoke(
            request.id, lambda token: request.conditions.require(etag_of(msgspec.json.encode(token)))
        )
        return no_content()
