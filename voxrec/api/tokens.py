"""/tokens: who may use REST."""

from dataclasses import replace
from typing import Any, Final
from uuid import uuid4

import msgspec

from voxrec.conversion import fit
from voxrec.errors import FieldError
from voxrec.model import Token
from voxrec.store.tokens import UNREVOKED, Tokens, new_secret
from voxrec.web import query
from voxrec.web.auth import Role
from voxrec.web.conditions import etag_of
from voxrec.web.exchange import CHANGING, READING, TAG, JsonBody, Now, Request, Response, Route, created, gone, shown
from voxrec.web.pagination import LINK, PAGED, Paginator
from voxrec.web.partial_update import require

_OURS: Final = frozenset({"id", "createdAt", "revokedAt"})
_DEMANDED: Final = frozenset({"name", "role"})


class MadeToken(Token, frozen=True, kw_only=True, rename="camel"):
    """A Token that was just made: only this once, with its secret."""

    token: str


class TokenRoutes:
    """The routes of Tokens, and their collection. What is revoked is gone for whoever looks here."""

    def __init__(self, tokens: Tokens, public_url: str, now: Now) -> None:
        self._tokens = tokens
        self._public_url = public_url
        self._now = now
        self._listing = Paginator(tokens, msgspec.json.encode, public_url)

    def routes(self) -> tuple[Route, ...]:
        """The route table."""
        return (
            Route("GET", "/tokens", Role.ADMIN, self._list, shows=list[Token], query=PAGED, tells=LINK),
            Route(
                *("PUT", "/tokens", Role.ADMIN, self._create),
                takes=JsonBody(Token, refuse=_OURS, require=_DEMANDED),
                shows=MadeToken,
                tells=("ETag", "Location"),
            ),
            Route("GET", "/tokens/<id>", Role.ADMIN, self._show, shows=Token, asks=READING, tells=TAG),
            Route("DELETE", "/tokens/<id>", Role.ADMIN, self._revoke, asks=CHANGING),
        )

    async def _list(self, ask: Request) -> Response:
        return await self._listing.asked(ask, {}, lambda _: UNREVOKED)

    async def _create(self, ask: Request) -> Response:
        query.read(ask.query(), {})
        given = ask.json_object()
        values, field_errors = fit(Token, given, refuse=_OURS)
        field_errors += [FieldError(key, "is required") for key in sorted(_DEMANDED - given.keys())]
        made: dict[str, Any] = {"id": uuid4(), "name": "-", "role": Role.READ, "created_at": self._now()}
        token = Token(**{**made, **values})
        require([*field_errors, *token.field_errors()])
        secret = new_secret()
        stored = await self._tokens.create(token, secret)
        answer = created(f"{self._public_url}/tokens/{stored.id}", msgspec.json.encode(stored))
        # its tag is that of the Token, which every later GET shows
        return replace(answer, body=msgspec.json.encode(MadeToken(**msgspec.structs.asdict(stored), token=secret)))

    async def _show(self, ask: Request) -> Response:
        query.read(ask.query(), {})
        return shown(ask, msgspec.json.encode(await self._tokens.get(ask.id)))

    async def _revoke(self, ask: Request) -> Response:
        query.read(ask.query(), {})
        await self._tokens.revoke(ask.id, lambda token: ask.conditions.require(etag_of(msgspec.json.encode(token))))
        return gone()
