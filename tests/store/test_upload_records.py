"""Tests of voxrec.store.upload_records, with a real PostgreSQL."""

from uuid import UUID, uuid4

import msgspec
from twisted.internet.defer import Deferred, gatherResults

from tests.database import DatabaseTestCase, reactor, until
from tests.store.samples import NOON, profile, recording
from voxrec.errors import NotFound, StoreUnavailable
from voxrec.model import Recording, StoredObject
from voxrec.postgres.transaction import Transaction
from voxrec.store.profiles import Profiles
from voxrec.store.recordings import Recordings
from voxrec.store.upload_records import PlannedUpload, UploadRecords


class UploadRecordsTests(DatabaseTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.recordings, self.profiles = Recordings(self.pool), Profiles(self.pool)
        self.statements: list[str] = []
        self.records = self.make_records()

    def make_records(self, *, uploads: bool = True) -> UploadRecords:
        return UploadRecords(reactor, self, self.recordings, bucket="calls", prefix="p/", uploads=uploads)  # type: ignore[arg-type]

    async def returning(self, sql: str, params: tuple[object, ...]) -> list[tuple[object, ...]]:
        """Record and run a statement: this is the database of the records."""
        self.statements.append(sql)
        return await self.pool.returning(sql, params)

    async def create(self, path: str | None = "x.wav", **fields: object) -> Recording:
        owner = await self.profiles.create(profile(**fields))
        return await self.recordings.create(recording(profile_id=owner.id, path=path))

    async def begin(self, *ids: UUID) -> list[PlannedUpload]:
        return list(await gatherResults([Deferred.fromCoroutine(self.records.begin(each)) for each in ids]))

    async def set_all(self, results: dict[UUID, StoredObject]) -> list[Recording]:
        return list(
            await gatherResults(
                [Deferred.fromCoroutine(self.records.set_stored_object(*each)) for each in results.items()]
            )
        )

    async def object_of(self, recording_id: UUID) -> StoredObject | None:
        return (await self.recordings.get(recording_id)).stored_object

    async def test_uploads_that_begin_at_the_same_time_are_one_statement(self) -> None:
        own = await self.create(archive_bucket="own", archive_prefix="")
        created = [own, *[await self.create() for _ in range(3)]]
        planned = await self.begin(*[each.id for each in created])
        self.assertEqual(len(self.statements), 1)
        targets = [StoredObject(bucket="own", key="x.wav"), *[StoredObject(bucket="calls", key="p/x.wav")] * 3]
        self.assertEqual([each.target for each in planned], targets)
        self.assertEqual([each.recording for each in planned], created)  # as they were before
        self.assertEqual([await self.object_of(each.id) for each in created], targets)

    async def test_object_that_the_row_names_is_not_replaced(self) -> None:
        created = await self.create()
        former = StoredObject(bucket="former", key="x.wav", stored_at=NOON)
        await self.recordings.set_stored_object(created.id, former)
        ((before, target),) = await self.begin(created.id)
        self.assertEqual((before.stored_object, target), (former, StoredObject(bucket="calls", key="p/x.wav")))
        self.assertEqual(await self.object_of(created.id), former)

    async def test_recording_without_audio(self) -> None:
        created = await self.create(path=None)
        ((_, target),) = await self.begin(created.id)
        self.assertIsNone(target)
        self.assertIsNone(await self.object_of(created.id))

    async def test_nothing_is_named_if_uploads_are_off(self) -> None:
        self.records = self.make_records(uploads=False)
        created = await self.create()
        await self.begin(created.id)
        self.assertIsNone(await self.object_of(created.id))

    async def test_deleted_recording_does_not_affect_the_others(self) -> None:
        created = await self.create()
        lost = Deferred.fromCoroutine(self.records.begin(uuid4()))
        ((found, _),) = await self.begin(created.id)
        self.assertEqual(found, created)
        with self.assertRaises(NotFound):
            await lost

    async def test_results_that_arrive_at_the_same_time_are_one_statement(self) -> None:
        created = [await self.create() for _ in range(3)]
        results = {
            each.id: StoredObject(bucket="calls", key="p/x.wav", version=f"v{number}", stored_at=NOON)
            for number, each in enumerate(created)
        }
        changed = await self.set_all(results)
        self.assertEqual(len(self.statements), 1)
        for each, before in zip(changed, created, strict=True):
            self.assertEqual(each, msgspec.structs.replace(before, stored_object=results[before.id]))
            self.assertEqual(await self.recordings.get(each.id), each)

    async def test_result_of_a_deleted_recording(self) -> None:
        created = await self.create()
        stored = StoredObject(bucket="calls", key="p/x.wav", stored_at=NOON)
        lost = Deferred.fromCoroutine(self.records.set_stored_object(uuid4(), stored))
        (changed,) = await self.set_all({created.id: stored})
        self.assertEqual(changed.stored_object, stored)
        with self.assertRaises(NotFound):
            await lost

    async def test_value_that_postgresql_refuses_fails_only_its_own_upload(self) -> None:
        """As a version with a NUL, which a store may send."""
        created = [await self.create() for _ in range(2)]
        stored = StoredObject(bucket="calls", key="p/x.wav", stored_at=NOON)
        bad = Deferred.fromCoroutine(
            self.records.set_stored_object(created[0].id, msgspec.structs.replace(stored, version="v\0"))
        )
        (changed,) = await self.set_all({created[1].id: stored})
        self.assertEqual(changed.stored_object, stored)
        with self.assertRaises(Exception) as raised:
            await bad
        self.assertNotIsInstance(raised.exception, StoreUnavailable)

    async def test_row_that_is_locked_delays_no_other(self) -> None:
        """No statement waits while it holds another row, so that there is no deadlock."""
        created = [await self.create() for _ in range(2)]
        release: Deferred[None] = Deferred()
        locked: list[object] = []

        async def hold(transaction: Transaction) -> None:
            locked.extend(
                await transaction.query("SELECT id FROM recordings WHERE id = %s FOR UPDATE", (created[0].id,))
            )
            await release

        holding = Deferred.fromCoroutine(self.pool.transaction(hold))
        await until(lambda: bool(locked))
        waiting = Deferred.fromCoroutine(self.records.begin(created[0].id))
        ((found, _),) = await self.begin(created[1].id)
        self.assertEqual(found.id, created[1].id)
        self.assertNoResult(waiting)
        release.callback(None)
        await holding
        self.assertEqual((await waiting).recording.id, created[0].id)
