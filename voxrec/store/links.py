"""Repository of expiring links, their keys and their uses."""

# ruff: noqa: S608 - only names of columns are formatted into statements; values are parameters

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec
from psycopg2.errors import ForeignKeyViolation

from voxrec.cursor import Cursor
from voxrec.errors import NotFound
from voxrec.link_token import SignedToken, SigningKey
from voxrec.model import AuditEntry, Link, LinkOrigin, LinkState, LinkUse
from voxrec.postgres.database import Database
from voxrec.postgres.statement import PreparedStatement, Row
from voxrec.postgres.transaction import Transaction
from voxrec.store.audit import insert_entry
from voxrec.store.columns import Columns
from voxrec.store.keyset import Conditions, fetch_page
from voxrec.store.repository import PagedTable
from voxrec.store.transaction_hook import NO_HOOK, TransactionHook

LINK_PATH: Final = "/l/"
"""The path of the page, before the token: short, since mails and messengers show it."""
ALL_KEYS: Final = datetime.max.replace(tzinfo=UTC)
"""For `Links.rotate_keys`: also the keys that a server with a fast clock has created."""
_LINK: Final = b"link"
_VISIT: Final = b"visit "

_COLUMNS: Final = Columns(Link, jsonb=frozenset(), exclude=frozenset({"url", "state"}))
_STATE: Final = """
    CASE WHEN revoked_at IS NOT NULL THEN 'revoked' WHEN expires_at <= now() THEN 'expired'
         WHEN uses >= max_uses THEN 'used-up' ELSE 'active' END
"""
_SELECT: Final = f"""
    SELECT {_COLUMNS.column_list}, state, key_id, secret
    FROM (
        SELECT links.*, secret, {_STATE} AS state FROM links LEFT JOIN link_keys ON link_keys.id = key_id
    ) AS links
"""
# The newest key, unless it is too old to sign. Two nodes that need a new key at the same time create two, which is
# harmless.
_SIGNING_KEY: Final = """
    WITH newest AS (
        SELECT id, secret FROM link_keys WHERE created_at > now() - %s::interval ORDER BY id DESC LIMIT 1
        FOR KEY SHARE
    ), made AS (
        INSERT INTO link_keys (created_at) SELECT now() WHERE NOT EXISTS (SELECT FROM newest) RETURNING id, secret
    )
    SELECT id, secret FROM newest UNION ALL SELECT id, secret FROM made
"""
_INSERT: Final = """
    INSERT INTO links (recording_id, key_id, origin, created_by, description, expires_at, max_uses)
    VALUES (%s, %s, %s, %s, %s, %s, %s) RETURNING id
"""
_REUSABLE: Final = f"""
    {_SELECT} WHERE recording_id = %s AND origin = %s AND state = 'active' AND max_uses IS NULL
        AND expires_at > now() + %s::interval
    ORDER BY expires_at DESC LIMIT 1
"""
_RESOLVE: Final = PreparedStatement(f"""
    SELECT link_keys.secret, {", ".join(f"links.{name}" for name in _COLUMNS.names)}, {_STATE}
    FROM link_keys LEFT JOIN links ON links.id = %s AND key_id = link_keys.id
    WHERE link_keys.id = %s
""")
_USE: Final = f"""
    WITH used AS (
        UPDATE links SET uses = uses + 1, last_used_at = now() WHERE id = %s AND {_STATE} = 'active' RETURNING id
    )
    INSERT INTO link_uses (link_id, address, user_agent) SELECT id, %s, %s FROM used RETURNING id
"""
_DELETE_EXPIRED: Final = "DELETE FROM links WHERE expires_at < now() - %s::interval"
_DELETE_KEYS: Final = """
    DELETE FROM link_keys
    WHERE created_at < now() - %s::interval AND id < (SELECT max(id) FROM link_keys)
      AND NOT EXISTS (SELECT FROM links WHERE key_id = link_keys.id AND expires_at > now() AND revoked_at IS NULL)
"""


# Waits for the links that are being created, so that none escapes, and lets others wait until the new key exists.
_LOCK_KEYS: Final = "LOCK TABLE link_keys IN EXCLUSIVE MODE"
_NEW_KEY: Final = "INSERT INTO link_keys (created_at) VALUES (now()) RETURNING id"
_REVOKE_OF_KEYS: Final = """
    UPDATE links SET revoked_at = now()
    WHERE revoked_at IS NULL AND key_id IN (SELECT id FROM link_keys WHERE created_at < %s AND id <> %s)
    RETURNING expires_at > now()
"""
_DELETE_KEYS_BEFORE: Final = "DELETE FROM link_keys WHERE created_at < %s AND id <> %s"


@dataclass(frozen=True, kw_only=True)
class NewLink:
    """A link to create. ``max_uses`` None: it can be opened any number of times."""

    recording_id: UUID
    origin: LinkOrigin
    created_by: str
    expires_at: datetime
    description: str | None = None
    max_uses: int | None = None


@dataclass(frozen=True, slots=True)
class ResolvedLink:
    """The link of a genuine token. ``link`` None: it was deleted with its Recording, or long ago.

    ``visit_token`` returns the token of a visit, for the cookie; ``visit_id`` the visit of a token, or None.
    """

    key: SigningKey
    link: Link | None

    def visit_token(self, link: Link, visit_id: UUID) -> str:
        """Return what a browser proves a visit of ``link`` with."""
        return self.key.sign(_VISIT + link.id.bytes, visit_id)

    def visit_id(self, link: Link, text: str) -> UUID | None:
        """Return the id of the visit of ``link`` that a browser proves; None if it proves none."""
        token = SignedToken.parse(text)
        if token is None or token.key_id != self.key.id or not self.key.verify(_VISIT + link.id.bytes, token):
            return None
        return token.id


class Links:
    """The links of Recordings.

    ``public_url`` is the URL of voxrec, without a slash at its end. A key signs links for ``key_lifetime``, and
    verifies them until the last of them has expired. Methods raise StoreUnavailable.
    """

    def __init__(self, database: Database, public_url: str = "", key_lifetime: timedelta = timedelta(days=30)) -> None:
        self._database = database
        self._public_url = public_url
        self._key_lifetime = key_lifetime

    async def create(self, new: NewLink, hook: TransactionHook[Link] = NO_HOOK) -> Link:
        """Insert a link, run ``hook``, and return the link. Raises NotFound if its Recording does not exist."""

        async def work(transaction: Transaction) -> Link:
            link = await self._insert(transaction, new)
            await hook(transaction, link)
            return link

        return await self._database.transaction(work)

    async def for_delivery(self, recording_id: UUID, origin: LinkOrigin, lifetime: timedelta, now: datetime) -> Link:
        """Return an active link for a mail or a webhook, which expires after ``lifetime``.

        Attempts to deliver the same message share a link, unless it has expired by half or was revoked. Raises NotFound
        if the Recording does not exist.
        """

        async def work(transaction: Transaction) -> Link:
            rows = await transaction.query(_REUSABLE, (recording_id, origin.value, lifetime / 2))
            if rows:
                return self._link(rows[0])
            new = NewLink(recording_id=recording_id, origin=origin, created_by=origin.value, expires_at=now + lifetime)
            return await self._insert(transaction, new)

        return await self._database.transaction(work)

    async def get(self, recording_id: UUID, link_id: UUID) -> Link:
        """Return a link of a Recording. Raises NotFound."""
        rows = await self._database.query(f"{_SELECT} WHERE id = %s AND recording_id = %s", (link_id, recording_id))
        if not rows:
            raise NotFound(f"Recording {recording_id} has no link {link_id}.")
        return self._link(rows[0])

    def of_recording(self, recording_id: UUID) -> "LinksOfRecording":
        """Return the links of a Recording."""
        return LinksOfRecording(self._database, recording_id, self._link)

    def uses(self, link_id: UUID) -> "LinkUses":
        """Return the uses of a link."""
        return LinkUses(self._database, link_id)

    async def revoke(self, recording_id: UUID, link_id: UUID) -> None:
        """Revoke a link of a Recording, also on the pages that are open. Raises NotFound."""
        await self.get(recording_id, link_id)
        await self._database.execute(
            "UPDATE links SET revoked_at = coalesce(revoked_at, now()) WHERE id = %s", (link_id,)
        )

    async def rotate_keys(self, revoke_before: datetime | None) -> int:
        """Sign new links with a new key, and return the number of links that are not valid any more.

        Keys that were created before ``revoke_before`` are deleted, and every link that they have signed is revoked at
        once, also on pages that are open: such keys cannot forge links any more. None: no key is deleted.
        """

        async def work(transaction: Transaction) -> int:
            await transaction.execute(_LOCK_KEYS)
            ((key_id,),) = await transaction.query(_NEW_KEY)
            revoked = 0
            if revoke_before is not None:
                rows = await transaction.query(_REVOKE_OF_KEYS, (revoke_before, key_id))
                revoked = sum(was_valid for (was_valid,) in rows)
                await transaction.execute(_DELETE_KEYS_BEFORE, (revoke_before, key_id))
            return revoked

        return await self._database.transaction(work)

    async def resolve(self, text: str) -> ResolvedLink | None:
        """Return the link that the token ``text`` belongs to; None if it is not the token of a link.

        Whether a link exists has no influence on the result for a forged token.
        """
        token = SignedToken.parse(text)
        if token is None:
            return None
        rows = await self._database.query(_RESOLVE, (token.id, token.key_id))
        if not rows:
            return None
        secret, *columns, state = rows[0]
        key = SigningKey(token.key_id, bytes(secret))
        if not key.verify(_LINK, token):
            return None
        if columns[0] is None:
            return ResolvedLink(key, None)
        return ResolvedLink(key, _COLUMNS.from_row(tuple(columns), url=None, state=state))

    async def use(
        self, link_id: UUID, address: str, user_agent: str, audit_entry: Callable[[], AuditEntry]
    ) -> UUID | None:
        """Count a use, store its audit entry with it, and return the id of the visit. None: the link is not active."""

        async def work(transaction: Transaction) -> UUID | None:
            rows = await transaction.query(_USE, (link_id, address, user_agent))
            if not rows:
                return None
            await insert_entry(transaction, audit_entry())
            ((visit_id,),) = rows
            return UUID(str(visit_id))

        return await self._database.transaction(work)

    async def is_visited(self, link_id: UUID, visit_id: UUID, duration: timedelta) -> bool:
        """Return whether a visit began at most ``duration`` ago."""
        rows = await self._database.query(
            "SELECT id FROM link_uses WHERE id = %s AND link_id = %s AND created_at > now() - %s::interval",
            (visit_id, link_id, duration),
        )
        return bool(rows)

    async def delete_expired(self, age: timedelta) -> None:
        """Delete the links that expired longer than ``age`` ago, and the keys that no link needs any more."""
        await self._database.execute(_DELETE_EXPIRED, (age,))
        await self._database.execute(_DELETE_KEYS, (self._key_lifetime,))

    async def _insert(self, transaction: Transaction, new: NewLink) -> Link:
        ((key_id, _),) = (await transaction.query(_SIGNING_KEY, (self._key_lifetime,)))[:1]
        try:
            ((link_id,),) = await transaction.query(
                _INSERT,
                (
                    *(new.recording_id, key_id, new.origin.value, new.created_by),
                    *(new.description, new.expires_at, new.max_uses),
                ),
            )
        except ForeignKeyViolation as error:
            raise NotFound(f"There is no recording {new.recording_id}.") from error
        (row,) = await transaction.query(f"{_SELECT} WHERE id = %s", (link_id,))
        return self._link(row)

    def _link(self, row: Row) -> Link:
        *columns, state, key_id, secret = row
        url = None
        if state == LinkState.ACTIVE and secret is not None:
            token = SigningKey(key_id, bytes(secret)).sign(_LINK, columns[0])
            url = f"{self._public_url}{LINK_PATH}{token}"
        return _COLUMNS.from_row(tuple(columns), url=url, state=state)


class LinksOfRecording(PagedTable[Link, None]):
    """The links of one Recording. ``link`` returns the link for a row."""

    _no_filters = None

    def __init__(self, database: Database, recording_id: UUID, link: Callable[[Row], Link]) -> None:
        super().__init__(database)
        self._recording_id = recording_id
        self._link = link

    async def _fetch_page(self, _filters: None, limit: int, after: Cursor | None) -> list[Row]:
        conditions = Conditions()
        conditions.add("recording_id = %s", self._recording_id)
        return await fetch_page(self._database, _SELECT, conditions, limit, after)

    def _from_row(self, row: Row) -> Link:
        return self._link(row)


class LinkUses(PagedTable[LinkUse, None]):
    """The uses of one link."""

    _no_filters = None

    def __init__(self, database: Database, link_id: UUID) -> None:
        super().__init__(database)
        self._link_id = link_id

    async def _fetch_page(self, _filters: None, limit: int, after: Cursor | None) -> list[Row]:
        conditions = Conditions()
        conditions.add("link_id = %s", self._link_id)
        select = "SELECT id, created_at, address, user_agent FROM link_uses"
        return await fetch_page(self._database, select, conditions, limit, after)

    def _from_row(self, row: Row) -> LinkUse:
        keys = ("id", "createdAt", "address", "userAgent")
        return msgspec.convert(dict(zip(keys, row, strict=True)), LinkUse)
