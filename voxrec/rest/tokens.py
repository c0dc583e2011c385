"""/tokens: who may use REST."""

from dataclasses import replace
from typing import Any, Final
from uuid import uuid4

import msgspec

from voxrec.errors import FieldFault
from voxrec.fitting import fit
from voxrec.model import Token
from voxrec.rest import query
from voxrec.rest.auth import Role
from voxrec.rest.conditions import etag_of
from voxrec.rest.editing import demand
from voxrec.rest.exchange import CHANGING, READING, TAG, Answer, Ask, Now, Route, Takes, created, gone, shown
from voxrec.rest.lists import LINK, PAGED, Listing
from voxrec.store.tokens import UNREVOKED, Tokens, new_secret

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
        self._listing = Listing(tokens, msgspec.json.encode, public_url)

    def routes(self) -> tuple[Route, ...]:
        """The route table."""
        return (
            Route("GET", "/tokens", Role.ADMIN, self._list, shows=list[Token], query=PAGED, tells=LINK),
            Route(
                *("PUT", "/tokens", Role.ADMIN, self._create),
                takes=Takes(Token, refuse=_OURS, demand=_DEMANDED),
                shows=MadeToken,
                tells=("ETag", "Location"),
            ),
            Route("GET", "/tokens/<id>", Role.ADMIN, self._show, shows=Token, asks=READING, tells=TAG),
            Route("DELETE", "/tokens/<id>", Role.ADMIN, self._revoke, asks=CHANGING),
        )

    async def _list(self, ask: Ask) -> Answer:
        return await self._listing.asked(ask, {}, lambda _: UNREVOKED)

    async def _create(self, ask: Ask) -> Answer:
        query.read(ask.query(), {})
        given = ask.json_object()
        values, faults = fit(Token, given, refuse=_OURS)
        faults += [FieldFault(key, "is required") for key in sorted(_DEMANDED - given.keys())]
        made: dict[str, Any] = {"id": uuid4(), "name": "-", "role": Role.READ, "created_at": self._now()}
        token = Token(**{**made, **values})
        demand([*faults, *token.faults()])
        secret = new_secret()
        stored = await self._tokens.create(token, secret)
        answer = created(f"{self._public_url}/tokens/{stored.id}", msgspec.json.encode(stored))
        # its tag is that of the Token, which every later GET shows
        return replace(answer, body=msgspec.json.encode(MadeToken(**msgspec.structs.asdict(stored), token=secret)))

    async def _show(self, ask: Ask) -> Answer:
        query.read(ask.query(), {})
        return shown(ask, msgspec.json.encode(await self._tokens.get(ask.id)))

    async def _revoke(self, ask: Ask) -> Answer:
        query.read(ask.query(), {})
        await self._tokens.revoke(ask.id, lambda token: ask.conditions.demand(etag_of(msgspec.json.encode(token))))
        return gone()
