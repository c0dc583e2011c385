"""Who may use REST. Secrets are never stored, only their SHA-256 (see the migration for why that is enough)."""

# ruff: noqa: S608 - what is put into the statements are names of columns, all our own; values are parameters

import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final
from uuid import UUID

from voxrec.cursor import Cursor
from voxrec.errors import FieldError, InvalidInput, NotFound
from voxrec.model import Token
from voxrec.postgres.database import Database
from voxrec.postgres.transaction import Transaction
from voxrec.store.columns import Columns
from voxrec.store.keyset import Conditions, iterate_pages, newest

SECRET_PREFIX: Final = "vxr_"  # noqa: S105 - the public part of every secret
"""What a secret begins with, so that people and scanners for leaked secrets recognise one."""

_COLUMNS: Final = Columns(Token, jsonb=frozenset())
_SELECT: Final = f"SELECT {_COLUMNS.listed} FROM tokens"
_INSERT: Final = f"INSERT INTO tokens ({_COLUMNS.listed}, hash) VALUES ({_COLUMNS.placeholders}, %s)"
_UNKNOWN_PROFILES: Final = """
    SELECT id FROM unnest(%s::uuid[]) WITH ORDINALITY AS given (id, position)
    WHERE NOT EXISTS (SELECT FROM profiles WHERE profiles.id = given.id)
    ORDER BY position
"""


def generate_secret() -> str:
    """256 random bits in a form that fits into a header."""
    return f"{SECRET_PREFIX}{secrets.token_urlsafe(32)}"


def hash_secret(secret: str) -> bytes:
    """What is stored of a secret."""
    return sha256(secret.encode("utf-8", "surrogateescape")).digest()


@dataclass(frozen=True, kw_only=True)
class TokenFilter:
    """Which Tokens are wanted: those that are not revoked, or all."""

    revoked: bool | None = False

    def conditions(self) -> Conditions:
        """The same, for PostgreSQL."""
        where = Conditions()
        where.add("(revoked_at IS NOT NULL) = %s", self.revoked)
        return where


UNREVOKED_TOKENS: Final = TokenFilter()
ALL_TOKENS: Final = TokenFilter(revoked=None)


def _unchecked(_: Token) -> None:
    """Nothing stands against it."""


class Tokens:
    """The Tokens in PostgreSQL. One that was revoked is not found any more; only a list can still show it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, secret_digest: bytes) -> Token | None:
        """Whose secret has this digest. It may have expired.

        That PostgreSQL compares digests in other than constant time gives nothing away: who could steer the digest
        towards a stored one would have inverted SHA-256.
        """
        rows = await self._database.query(f"{_SELECT} WHERE hash = %s AND revoked_at IS NULL", (secret_digest,))
        return _COLUMNS.struct(rows[0]) if rows else None

    async def get(self, token_id: UUID) -> Token:
        """One Token. NotFound."""
        rows = await self._database.query(f"{_SELECT} WHERE id = %s AND revoked_at IS NULL", (token_id,))
        if not rows:
            raise NotFound(f"There is no token {token_id}.")
        return _COLUMNS.struct(rows[0])

    def pages(self, wanted: TokenFilter = UNREVOKED_TOKENS, size: int = 500) -> AsyncIterator[list[Token]]:
        """Every wanted Token, newest first, ``size`` of them at a time."""
        return iterate_pages(lambda after: self.page(wanted, size, after), size)

    async def page(
        self, wanted: TokenFilter = UNREVOKED_TOKENS, limit: int = 500, after: Cursor | None = None
    ) -> list[Token]:
        """At most ``limit`` of the wanted Tokens, newest first, from behind ``after`` on."""
        where = wanted.conditions()
        rows = await newest(self._database, _SELECT, where, limit, after)
        return [_COLUMNS.struct(row) for row in rows]

    async def create(self, token: Token, secret: str) -> Token:
        """Add one. InvalidInput, naming them, where it is limited to Profiles that do not exist."""

        async def work(transaction: Transaction) -> None:
            unknown = await transaction.query(_UNKNOWN_PROFILES, (list(token.profile_ids or ()),))
            if unknown:
                field_errors = [
                    FieldError("profileIds", f"there is no profile {profile_id}") for (profile_id,) in unknown
                ]
                raise InvalidInput("The token would be limited to profiles that do not exist.", field_errors)
            await transaction.execute(_INSERT, (*_COLUMNS.values(token), hash_secret(secret)))

        await self._database.transaction(work)
        return token

    async def revoke(self, token_id: UUID, check: Callable[[Token], None] = _unchecked) -> Token:
        """End one for good, unless ``check`` raises. Returns it as it was. NotFound."""

        async def work(transaction: Transaction) -> Token:
            rows = await transaction.query(f"{_SELECT} WHERE id = %s AND revoked_at IS NULL FOR UPDATE", (token_id,))
            if not rows:
                raise NotFound(f"There is no token {token_id}.")
            token: Token = _COLUMNS.struct(rows[0])
            check(token)
            await transaction.execute("UPDATE tokens SET revoked_at = now() WHERE id = %s", (token_id,))
            return token

        return await self._database.transaction(work)
