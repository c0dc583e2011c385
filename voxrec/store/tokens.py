"""Repository of API tokens. Of a secret only the SHA-256 hash is stored; migration 0003 explains why that suffices."""

# ruff: noqa: S608 - only names of columns are formatted into statements; values are parameters

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final
from uuid import UUID

from voxrec.cursor import Cursor
from voxrec.model import Token
from voxrec.postgres.statement import Row
from voxrec.postgres.transaction import Transaction
from voxrec.store.columns import Columns
from voxrec.store.keyset import Conditions, fetch_page
from voxrec.store.profile_limits import require_profiles
from voxrec.store.repository import Repository, no_check

SECRET_PREFIX: Final = "vxr_"  # noqa: S105 - the public part of every secret
"""The prefix of every secret, by which people and secret scanners recognise it."""

_COLUMNS: Final = Columns(Token, jsonb=frozenset())
_SELECT: Final = f"SELECT {_COLUMNS.column_list} FROM tokens"
_INSERT: Final = f"INSERT INTO tokens ({_COLUMNS.column_list}, hash) VALUES ({_COLUMNS.placeholders}, %s)"


def generate_secret(prefix: str = SECRET_PREFIX) -> str:
    """Return a new secret with 256 random bits, in characters that are valid in a header."""
    return f"{prefix}{secrets.token_urlsafe(32)}"


def hash_secret(secret: str) -> bytes:
    """Return the hash of a secret, as it is stored."""
    return sha256(secret.encode("utf-8", "surrogateescape")).digest()


@dataclass(frozen=True, kw_only=True)
class TokenFilter:
    """Filter of a list: ``revoked`` selects revoked Tokens or the others; None selects all."""

    revoked: bool | None = False

    def conditions(self) -> Conditions:
        """Return the filter as SQL."""
        conditions = Conditions()
        conditions.add("(revoked_at IS NOT NULL) = %s", self.revoked)
        return conditions


UNREVOKED_TOKENS: Final = TokenFilter()
ALL_TOKENS: Final = TokenFilter(revoked=None)


class Tokens(Repository[Token, TokenFilter]):
    """The table of Tokens. A revoked Token does not exist any more, except in lists that include revoked ones."""

    _resource = "token"
    _no_filters = UNREVOKED_TOKENS

    async def find(self, secret_hash: bytes) -> Token | None:
        """Return the Token whose secret has this hash, or None. The Token may have expired.

        PostgreSQL does not compare in constant time. That reveals nothing: to choose a secret whose hash approaches a
        stored one, an attacker would have to invert SHA-256.
        """
        rows = await self._database.query(f"{_SELECT} WHERE hash = %s AND revoked_at IS NULL", (secret_hash,))
        return _COLUMNS.from_row(rows[0]) if rows else None

    async def create(self, token: Token, secret: str) -> Token:
        """Insert a Token. Raises InvalidInput, naming them, if it is limited to Profiles that do not exist."""

        async def work(transaction: Transaction) -> None:
            await require_profiles(transaction, token.profile_ids, "token")
            await transaction.execute(_INSERT, (*_COLUMNS.params(token), hash_secret(secret)))

        await self._database.transaction(work)
        return token

    async def revoke(self, token_id: UUID, check: Callable[[Token], None] = no_check) -> Token:
        """Revoke a Token unless ``check`` raises, and return it as it was before. Raises NotFound."""

        async def work(transaction: Transaction) -> Token:
            token = await self._lock(transaction, token_id)
            check(token)
            await transaction.execute("UPDATE tokens SET revoked_at = now() WHERE id = %s", (token_id,))
            return token

        return await self._database.transaction(work)

    async def _fetch_page(self, filters: TokenFilter, limit: int, after: Cursor | None) -> list[Row]:
        return await fetch_page(self._database, _SELECT, filters.conditions(), limit, after)

    def _select_by_id(self, resource_id: UUID) -> tuple[str, tuple[object, ...]]:
        return f"{_SELECT} WHERE id = %s AND revoked_at IS NULL", (resource_id,)

    def _from_row(self, row: Row) -> Token:
        return _COLUMNS.from_row(row)
