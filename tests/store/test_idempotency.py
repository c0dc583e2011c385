"""Tests of voxrec.store.idempotency."""

from twisted.internet.defer import Deferred

from tests.database import DatabaseTestCase
from voxrec.idempotency import AlreadyProcessed, IdempotencyKey, IdempotencyRecord, RequestInProgress
from voxrec.postgres.transaction import Transaction
from voxrec.store.idempotency import Idempotency, insert_record

KEY = IdempotencyKey("crm POST /profiles", "k1", "fingerprint")
RECORD = IdempotencyRecord("fingerprint", 200, {"Location": "/profiles/x", "ETag": '"ü"'}, b'{"id": 1}\0')


class IdempotencyTests(DatabaseTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.idempotency = Idempotency(self.pool)

    async def insert(self, key: IdempotencyKey = KEY, record: IdempotencyRecord = RECORD) -> None:
        await self.pool.transaction(lambda transaction: insert_record(transaction, key, record))

    async def let_expire(self) -> None:
        await self.pool.execute("UPDATE idempotency SET created_at = now() - interval '24 hours'")

    async def test_unused_key(self) -> None:
        self.assertIsNone(await self.idempotency.find(KEY))

    async def test_record_is_found_by_scope_and_key(self) -> None:
        await self.insert()
        self.assertEqual(await self.idempotency.find(IdempotencyKey(KEY.scope, KEY.key, "another request")), RECORD)
        self.assertIsNone(await self.idempotency.find(IdempotencyKey("other", KEY.key, KEY.fingerprint)))
        self.assertIsNone(await self.idempotency.find(IdempotencyKey(KEY.scope, "k2", KEY.fingerprint)))

    async def test_record_without_a_body(self) -> None:
        streamed = IdempotencyRecord("fingerprint", 200, {}, None)
        await self.insert(record=streamed)
        self.assertEqual(await self.idempotency.find(KEY), streamed)

    async def test_key_in_use_by_an_open_transaction(self) -> None:
        inserted: Deferred[None] = Deferred()
        end: Deferred[None] = Deferred()

        async def slow(transaction: Transaction) -> None:
            await insert_record(transaction, KEY, RECORD)
            inserted.callback(None)
            await end

        first = Deferred.fromCoroutine(self.pool.transaction(slow))
        await inserted
        with self.assertRaises(RequestInProgress):
            await self.insert()
        end.callback(None)
        await first
        with self.assertRaises(AlreadyProcessed):
            await self.insert()

    async def test_rolled_back_transaction_releases_the_key(self) -> None:
        async def failing(transaction: Transaction) -> None:
            await insert_record(transaction, KEY, RECORD)
            raise ZeroDivisionError

        with self.assertRaises(ZeroDivisionError):
            await self.pool.transaction(failing)
        self.assertIsNone(await self.idempotency.find(KEY))
        await self.insert()

    async def test_expired_key_can_be_used_again(self) -> None:
        await self.insert()
        await self.let_expire()
        self.assertIsNone(await self.idempotency.find(KEY))
        new = IdempotencyRecord("another", 201, {}, b"")
        await self.insert(record=new)
        self.assertEqual(await self.idempotency.find(KEY), new)

    async def test_expired_records_are_deleted(self) -> None:
        await self.insert()
        await self.let_expire()
        await self.insert(IdempotencyKey(KEY.scope, "k2", "f"))
        self.assertEqual(await self.idempotency.delete_expired(), 1)
        self.assertEqual(await self.idempotency.delete_expired(), 0)
