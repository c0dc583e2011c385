"""Tests of voxrec.store.profile_changes: changes with an audit entry, through the repository."""

from collections.abc import Callable, Iterable
from functools import partial
from uuid import UUID, uuid4

import msgspec
from twisted.internet.defer import Deferred, DeferredList, gatherResults

from tests.database import DatabaseTestCase, reactor
from tests.store.samples import later, profile
from tests.store.test_profiles import FULL, add_prompt
from voxrec.errors import Conflict, InvalidInput, NotFound
from voxrec.model import AuditEntry, AuditOutcome, Profile, RecordPrompt
from voxrec.postgres.transaction import Transaction
from voxrec.store.audit import Audit
from voxrec.store.profile_changes import ProfileChanges
from voxrec.store.profiles import Profiles
from voxrec.store.transaction_hook import TransactionHook


def audit_entry(stored: Profile) -> AuditEntry:
    """Return the audit entry of a change."""
    return AuditEntry(
        id=uuid4(), created_at=later(0.000001), who='so"mebody', token_id=uuid4(), address="::1", method="POST",
        path="/profiles", kind="profile", target_id=stored.id, outcome=AuditOutcome.DONE, status=200,
        fields=("name", "email"), seconds=0.1,
    )  # fmt: skip


def play_deleted_prompt(old: Profile) -> Profile:
    """Set a prompt that does not exist, as if it was deleted after it had been checked."""
    return msgspec.structs.replace(old, record_prompt=RecordPrompt.CUSTOM, record_prompt_custom_id=uuid4())


rename = partial(msgspec.structs.replace, name="2")


class ProfileChangesTests(DatabaseTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.profiles = Profiles(self.pool, changes=ProfileChanges(reactor, self.pool))
        self.audit = Audit(self.pool)
        self.entries: list[AuditEntry] = []
        self.hook = TransactionHook(audit_entry=self.make_entry)

    def make_entry(self, stored: Profile) -> AuditEntry:
        self.entries.append(audit_entry(stored))
        return self.entries[-1]

    async def targets(self) -> list[UUID | None]:
        return [entry.target_id for entry in await self.audit.page()]

    async def create_all(self, profiles: Iterable[Profile]) -> list[object]:
        """Create Profiles at once, and return what is stored of each, or the type of its error."""
        results = await DeferredList(
            [Deferred.fromCoroutine(self.profiles.create(each, self.hook)) for each in profiles], consumeErrors=True
        )
        return [result if success else result.type for success, result in results]  # type: ignore[attr-defined] # Failure

    async def update_all(self, changes: Iterable[tuple[UUID, Callable[[Profile], Profile]]]) -> list[Profile]:
        """Update Profiles at once, and return what is stored."""
        return await gatherResults(
            [Deferred.fromCoroutine(self.profiles.update(id_, change, self.hook)) for id_, change in changes]
        )

    async def transactions(self, table: str) -> int:
        """Return the number of transactions that have written the rows of a table."""
        ((count,),) = await self.pool.query(f"SELECT count(DISTINCT xmin::text) FROM {table}")  # noqa: S608
        return int(count)

    async def test_create(self) -> None:
        await add_prompt(self.pool)
        full = msgspec.structs.replace(FULL, numbers=())
        for new in (full, profile()):
            self.assertEqual(await self.profiles.create(new, self.hook), new)
            self.assertEqual(await self.profiles.get(new.id), new)
        self.assertCountEqual(await self.audit.page(), self.entries)

    async def test_what_is_returned_is_what_is_stored(self) -> None:
        """jsonb stores 1e22 as an integer of 23 digits, for example."""
        metadata = {"a": 1e22, "b": [1.50, -0.0]}
        new = profile(metadata=metadata)
        for returned in (
            await self.profiles.create(new, self.hook),
            await self.profiles.update(new.id, lambda old: msgspec.structs.replace(old, metadata=metadata), self.hook),
        ):
            self.assertNotEqual(msgspec.json.encode(returned.metadata), msgspec.json.encode(metadata))
            stored = await self.profiles.get(new.id)
            self.assertEqual(msgspec.json.encode(returned.metadata), msgspec.json.encode(stored.metadata))

    async def test_an_id_in_use(self) -> None:
        new = profile()
        await self.profiles.create(new, self.hook)
        with self.assertRaises(Conflict) as caught:
            await self.profiles.create(new, self.hook)
        self.assertEqual([fault.field for fault in caught.exception.field_errors], ["id"])
        self.assertEqual(await self.targets(), [new.id])

    async def test_update(self) -> None:
        known = await self.profiles.create(profile(numbers=("+491",)))
        changed = await self.profiles.update(known.id, rename, self.hook)
        self.assertEqual(changed, rename(known))
        self.assertEqual(await self.profiles.get(known.id), changed)
        self.assertEqual(await self.audit.page(), self.entries)

    async def test_updates_that_fail(self) -> None:
        known = await self.profiles.create(profile())
        with self.assertRaises(NotFound):
            await self.profiles.update(uuid4(), rename, self.hook)
        with self.assertRaises(InvalidInput):
            await self.profiles.update(known.id, play_deleted_prompt, self.hook)
        self.assertEqual(await self.targets(), [])

    async def test_changes_at_once_are_one_transaction(self) -> None:
        known = [profile(name=str(number)) for number in range(20)]
        self.assertEqual(await self.create_all(known), known)
        self.assertEqual([await self.transactions(table) for table in ("profiles", "audit")], [1, 1])
        changed = await self.update_all((each.id, rename) for each in known)
        self.assertEqual(changed, [rename(each) for each in known])
        self.assertCountEqual(await self.profiles.all(), changed)
        self.assertEqual([await self.transactions(table) for table in ("profiles", "audit")], [1, 2])
        self.assertCountEqual(await self.targets(), [each.id for each in known] * 2)

    async def test_one_that_fails_does_not_affect_the_others(self) -> None:
        stored = await self.profiles.create(profile(), self.hook)
        good, invalid, refers = profile(), profile(name="\0"), play_deleted_prompt(profile())
        numbered, twice = profile(numbers=("+491",)), profile(name="first")
        attempts = [good, invalid, refers, numbered, stored, twice, rename(twice)]
        results = await self.create_all(attempts)
        self.assertEqual(results, [good, InvalidInput, InvalidInput, numbered, Conflict, twice, Conflict])
        kept = [stored, good, numbered, twice]
        self.assertCountEqual(await self.profiles.all(), kept)
        self.assertCountEqual(await self.targets(), [each.id for each in kept])

    async def test_concurrent_updates_of_a_profile_are_all_applied(self) -> None:
        known = await self.profiles.create(profile(name="", numbers=("+491",)))
        others = [await self.profiles.create(profile(name="")) for _ in range(3)]

        def number(old: Profile) -> Profile:
            return msgspec.structs.replace(old, name=f"{old.name}I", numbers=(*old.numbers, f"+492{len(old.numbers)}"))

        def count(old: Profile) -> Profile:
            return msgspec.structs.replace(old, name=f"{old.name}I")

        await self.update_all((known.id, number if step % 4 == 0 else count) for step in range(20))
        await self.update_all((each.id, count) for each in others * 5)
        found = await self.profiles.get(known.id)
        self.assertEqual((found.name, len(found.numbers)), ("I" * 20, 6))
        self.assertEqual([(await self.profiles.get(each.id)).name for each in others], ["IIIII"] * 3)
        self.assertCountEqual(await self.targets(), [known.id] * 20 + [each.id for each in others] * 5)

    async def test_a_locked_row_does_not_hold_up_the_others(self) -> None:
        locked, free = [await self.profiles.create(profile()) for _ in range(2)]
        waiting: list[Deferred[Profile]] = []

        async def work(transaction: Transaction) -> None:
            await transaction.execute("UPDATE profiles SET email = 'a@example.org' WHERE id = %s", (locked.id,))
            waiting.append(Deferred.fromCoroutine(self.profiles.update(locked.id, rename, self.hook)))
            self.assertEqual(await self.update_all([(free.id, rename)]), [rename(free)])
            self.assertFalse(waiting[0].called)

        await self.pool.transaction(work)
        self.assertEqual(await waiting[0], msgspec.structs.replace(locked, name="2", email="a@example.org"))

    async def test_a_change_between_reading_and_updating_is_not_lost(self) -> None:
        known = await self.profiles.create(profile())
        changes = ProfileChanges(reactor, self.pool)
        profiles = Profiles(self.pool, changes=changes)
        read = changes.read

        async def read_before_a_change(profile_id: UUID) -> tuple[str, Profile] | None:
            result = await read(profile_id)
            await self.pool.execute("UPDATE profiles SET email = 'a@example.org' WHERE id = %s", (profile_id,))
            return result

        self.patch(changes, "read", read_before_a_change)
        stored = await profiles.update(known.id, rename, self.hook)
        self.assertEqual(stored, msgspec.structs.replace(known, name="2", email="a@example.org"))
        self.assertEqual(await self.targets(), [known.id])
