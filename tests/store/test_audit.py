"""Tests of voxrec.store.audit."""

from typing import Any
from uuid import uuid4

import msgspec

from tests.database import DatabaseTestCase
from tests.store.samples import NOON, later
from voxrec.cursor import Cursor
from voxrec.model import AuditEntry, AuditOutcome
from voxrec.postgres.transaction import Transaction
from voxrec.store.audit import Audit, AuditFilter, insert_entry


def entry(**fields: Any) -> AuditEntry:
    defaults: dict[str, Any] = {
        "id": uuid4(), "created_at": NOON, "who": "crm", "token_id": uuid4(), "address": "::1", "method": "POST",
        "path": "/profiles/x", "kind": "profile", "target_id": None, "outcome": AuditOutcome.BEGUN, "status": None,
        "fields": (),
    }  # fmt: skip
    return AuditEntry(**{**defaults, **fields})


class AuditTests(DatabaseTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.audit = Audit(self.pool)

    async def test_entry_before_and_after_its_change(self) -> None:
        new = entry()
        await self.audit.begin(new)
        self.assertEqual(await self.audit.page(), [new])
        ended = msgspec.structs.replace(
            new, target_id=uuid4(), outcome=AuditOutcome.DONE, status=200, fields=("name", "email")
        )
        await self.audit.end(ended)
        self.assertEqual(await self.audit.page(), [ended])

    async def test_entry_in_the_transaction_of_its_change(self) -> None:
        done = entry(outcome=AuditOutcome.DONE, status=200)

        async def failing(transaction: Transaction) -> None:
            await insert_entry(transaction, done)
            raise ZeroDivisionError

        with self.assertRaises(ZeroDivisionError):
            await self.pool.transaction(failing)
        self.assertEqual(await self.audit.page(), [])
        await self.pool.transaction(lambda transaction: insert_entry(transaction, done))
        self.assertEqual(await self.audit.page(), [done])

    async def test_filters(self) -> None:
        entries = [entry(created_at=later(-n), who=f"user {n}", path=f"/calls/{n}") for n in range(4)]
        for each in entries:
            await self.audit.begin(each)
        for filters, expected in (
            (AuditFilter(), entries),
            (AuditFilter(since=later(-2)), entries[:3]),
            (AuditFilter(until=later(-2)), entries[3:]),
            (AuditFilter(who="user 1"), entries[1:2]),
            (AuditFilter(path="/calls/3"), entries[3:]),
            (AuditFilter(path="/calls"), entries),
            (AuditFilter(path="%"), []),
        ):
            with self.subTest(filters):
                self.assertEqual(await self.audit.page(filters), expected)

    async def test_pages(self) -> None:
        entries = [entry(created_at=later(-n)) for n in range(5)]
        for each in entries:
            await self.audit.begin(each)
        self.assertEqual([page async for page in self.audit.pages(size=2)], [entries[:2], entries[2:4], entries[4:]])
        self.assertEqual(await self.audit.page(limit=2, after=Cursor.after(entries[1])), entries[2:4])
