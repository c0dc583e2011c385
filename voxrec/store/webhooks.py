"""Repository of webhooks: the endpoints that receive events by HTTP, with their secrets and the list of attempts."""

# ruff: noqa: S608 - only names of columns are formatted into statements; values are parameters

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

import msgspec
from psycopg2.errors import ForeignKeyViolation

from voxrec.cursor import Cursor
from voxrec.error_codes import ProblemReason
from voxrec.errors import Conflict
from voxrec.model import Webhook, WebhookAttempt, WebhookSecret
from voxrec.postgres.database import Database
from voxrec.postgres.statement import Row
from voxrec.postgres.transaction import Transaction
from voxrec.store.columns import Columns
from voxrec.store.keyset import Conditions, fetch_page
from voxrec.store.profile_limits import unknown_profile
from voxrec.store.repository import PagedTable, ScopedRepository, apply_change, no_check
from voxrec.store.transaction_hook import NO_HOOK, TransactionHook

_COLUMNS: Final = Columns(Webhook, jsonb=frozenset({"headers"}))
_SELECT: Final = f"SELECT {_COLUMNS.column_list} FROM webhooks"
_INSERT: Final = f"""
    INSERT INTO webhooks ({_COLUMNS.column_list}) VALUES ({_COLUMNS.placeholders}) ON CONFLICT (id) DO NOTHING
    RETURNING {_COLUMNS.column_list}
"""
_UPDATE: Final = f"""
    UPDATE webhooks SET ({_COLUMNS.column_list}) = ROW ({_COLUMNS.placeholders}) WHERE id = %s
    RETURNING {_COLUMNS.column_list}
"""
_PREVIOUS: Final = """
    CASE WHEN previous_secret_expires_at > now() THEN previous_secret END,
    CASE WHEN previous_secret_expires_at > now() THEN previous_secret_expires_at END
"""
_ROTATE: Final = f"""
    UPDATE webhooks
    SET secret = coalesce(
            %s, 'whsec_' || encode(sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())), 'base64')),
        previous_secret = secret, previous_secret_expires_at = now() + %s
    WHERE id = %s
    RETURNING secret, {_PREVIOUS}
"""
_SELECT_ATTEMPTS: Final = """
    SELECT id, created_at, message_id, delivery_id, type, recording_id, status, reply, seconds
    FROM (
        SELECT webhook_attempts.id, webhook_attempts.created_at, message_id, delivery_id, type, recording_id, status,
               reply, seconds, webhook_attempts.webhook_id
        FROM webhook_attempts
        JOIN webhook_deliveries ON webhook_deliveries.id = delivery_id
        JOIN webhook_messages ON webhook_messages.id = message_id
    ) AS attempts
"""
_ATTEMPT_KEYS: Final = (
    *("id", "createdAt", "messageId", "deliveryId", "event", "recordingId", "status", "reply", "seconds"),
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What a request to a webhook needs. ``secrets``: the current one first."""

    webhook_id: UUID
    url: str
    headers: dict[str, str]
    secrets: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class WebhookFilter:
    """Filter of a list; None matches everything."""

    profile_id: UUID | None = None

    def conditions(self) -> Conditions:
        """Return the filter as SQL."""
        conditions = Conditions()
        conditions.add("profile_id = %s", self.profile_id)
        return conditions


ALL_WEBHOOKS: Final = WebhookFilter()


class Webhooks(ScopedRepository[Webhook, WebhookFilter]):
    """The table of webhooks. In a scoped repository, those of all Profiles do not exist."""

    _resource = "webhook"
    _no_filters = ALL_WEBHOOKS

    async def create(self, webhook: Webhook, hook: TransactionHook[Webhook] = NO_HOOK) -> Webhook:
        """Insert a webhook with a new secret, run ``hook``, and return the webhook.

        Raises Conflict if its id is in use, InvalidInput if its Profile does not exist.
        """

        async def work(transaction: Transaction) -> Webhook:
            if not self._in_scope(webhook):
                raise unknown_profile("webhook", webhook.profile_id)
            with _require_profile(webhook):
                rows = await transaction.query(_INSERT, _COLUMNS.params(webhook))
            if not rows:
                raise self._collision([self._id_in_use(webhook.id)])
            stored = self._from_row(rows[0])
            await hook(transaction, stored)
            return stored

        return await self._database.transaction(work)

    async def update(
        self, webhook_id: UUID, change: Callable[[Webhook], Webhook], hook: TransactionHook[Webhook] = NO_HOOK
    ) -> Webhook:
        """Replace a webhook by ``change(old)``, which locks it, run ``hook``, and return the webhook.

        What is pending is suspended if it is disabled, and due again if it is enabled. Raises NotFound.
        """

        async def work(transaction: Transaction) -> Webhook:
            new = apply_change(change, await self._lock(transaction, webhook_id))
            (row,) = await transaction.query(_UPDATE, (*_COLUMNS.params(new), new.id))
            stored = self._from_row(row)
            await hook(transaction, stored)
            return stored

        return await self._database.transaction(work)

    async def delete(self, webhook_id: UUID, check: Callable[[Webhook], None] = no_check) -> None:
        """Delete a webhook and its deliveries unless ``check`` raises.

        Raises NotFound, and Conflict if it is the webhookUrl of a Profile.
        """

        async def work(transaction: Transaction) -> None:
            webhook = await self._lock(transaction, webhook_id)
            check(webhook)
            if webhook.of_profile:
                profile_id = webhook.profile_id
                raise Conflict(
                    f"Webhook {webhook_id} is the webhookUrl of profile {profile_id}; set that to null instead.",
                    reason=ProblemReason.WEBHOOK_OF_PROFILE,
                )
            await transaction.execute("DELETE FROM webhooks WHERE id = %s", (webhook_id,))

        await self._database.transaction(work)

    async def secret(self, webhook_id: UUID) -> WebhookSecret:
        """Return the secrets of a webhook. Raises NotFound."""
        await self.get(webhook_id)
        rows = await self._database.query(f"SELECT secret, {_PREVIOUS} FROM webhooks WHERE id = %s", (webhook_id,))
        if not rows:
            raise self._not_found(webhook_id)
        return _secret(rows[0])

    async def rotate_secret(self, webhook_id: UUID, secret: str | None, overlap: timedelta) -> WebhookSecret:
        """Replace the secret by ``secret``, or by a new one, and use the previous one too for ``overlap``.

        Raises NotFound.
        """

        async def work(transaction: Transaction) -> WebhookSecret:
            await self._lock(transaction, webhook_id)
            (row,) = await transaction.query(_ROTATE, (secret, overlap, webhook_id))
            return _secret(row)

        return await self._database.transaction(work)

    async def endpoint(self, webhook_id: UUID) -> Endpoint:
        """Return what a request needs. Raises NotFound."""
        webhook, secret = await self.get(webhook_id), await self.secret(webhook_id)
        secrets = (secret.secret, secret.previous_secret)
        return Endpoint(webhook.id, webhook.url, webhook.headers, tuple(filter(None, secrets)))

    async def attempts(self, webhook_id: UUID) -> "WebhookAttempts":
        """Return the attempts of a webhook. Raises NotFound."""
        await self.get(webhook_id)
        return WebhookAttempts(self._database, webhook_id)

    async def count_disabled(self) -> int:
        """Return the number of webhooks that were disabled because they failed."""
        ((count,),) = await self._database.query(
            "SELECT count(*) FROM webhooks WHERE NOT enabled AND disabled_reason IS NOT NULL"
        )
        return int(count)

    async def _fetch_page(self, filters: WebhookFilter, limit: int, after: Cursor | None) -> list[Row]:
        conditions = filters.conditions()
        conditions.add("profile_id = ANY(%s)", None if self._profile_ids is None else list(self._profile_ids))
        return await fetch_page(self._database, _SELECT, conditions, limit, after)

    def _select_by_id(self, resource_id: UUID) -> tuple[str, tuple[object, ...]]:
        return f"{_SELECT} WHERE id = %s", (resource_id,)

    def _from_row(self, row: Row) -> Webhook:
        return _COLUMNS.from_row(row)

    def _in_scope(self, resource: Webhook) -> bool:
        return self._profile_ids is None or resource.profile_id in self._profile_ids


class WebhookAttempts(PagedTable[WebhookAttempt, None]):
    """The attempts of one webhook."""

    _no_filters = None

    def __init__(self, database: Database, webhook_id: UUID) -> None:
        super().__init__(database)
        self._webhook_id = webhook_id

    async def _fetch_page(self, _filters: None, limit: int, after: Cursor | None) -> list[Row]:
        conditions = Conditions()
        conditions.add("webhook_id = %s", self._webhook_id)
        return await fetch_page(self._database, _SELECT_ATTEMPTS, conditions, limit, after)

    def _from_row(self, row: Row) -> WebhookAttempt:
        return msgspec.convert(dict(zip(_ATTEMPT_KEYS, row, strict=True)), WebhookAttempt)


def _secret(row: Row) -> WebhookSecret:
    secret, previous, expires_at = row
    return WebhookSecret(secret=secret, previous_secret=previous, previous_secret_expires_at=expires_at)


@contextmanager
def _require_profile(webhook: Webhook) -> Iterator[None]:
    """Raise InvalidInput if the Profile of a webhook does not exist."""
    try:
        yield
    except ForeignKeyViolation as error:
        raise unknown_profile("webhook", webhook.profile_id) from error
