"""Tests of voxrec.store.transaction_hook."""

from uuid import UUID

from tests.database import DatabaseTestCase
from tests.store.samples import recording
from tests.store.test_audit import entry
from voxrec.idempotency import AlreadyProcessed, IdempotencyKey, IdempotencyRecord
from voxrec.model import AuditEntry, Recording
from voxrec.store.audit import Audit
from voxrec.store.idempotency import Idempotency
from voxrec.store.recordings import Recordings
from voxrec.store.transaction_hook import NO_HOOK, TransactionHook

KEY = IdempotencyKey("crm POST /recordings", "k1", "fingerprint")
RECORD = IdempotencyRecord("fingerprint", 200, {}, b"{}")


def audit_entry(stored: Recording) -> AuditEntry:
    return entry(target_id=stored.id)


class TransactionHookTests(DatabaseTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.recordings = Recordings(self.pool)
        self.hook: TransactionHook[Recording] = TransactionHook(
            audit_entry=audit_entry, idempotency=lambda _: (KEY, RECORD)
        )

    async def audited_ids(self) -> list[UUID | None]:
        return [each.target_id for each in await Audit(self.pool).page()]

    async def test_rows_are_inserted_with_the_change(self) -> None:
        stored = await self.recordings.create(recording(), self.hook)
        self.assertEqual(await self.audited_ids(), [stored.id])
        self.assertEqual(await Idempotency(self.pool).find(KEY), RECORD)

    async def test_error_rolls_back_the_change(self) -> None:
        stored = await self.recordings.create(recording(), self.hook)
        with self.assertRaises(AlreadyProcessed):
            await self.recordings.create(recording(), self.hook)
        self.assertEqual(await self.recordings.page(), [stored])
        self.assertEqual(await self.audited_ids(), [stored.id])

    async def test_no_hook(self) -> None:
        await self.recordings.create(recording(), NO_HOOK)
        self.assertEqual(await self.audited_ids(), [])
