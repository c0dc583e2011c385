"""Tests of voxrec.store.repository, with the repositories of Profiles and Recordings."""

from uuid import uuid4

import msgspec

from tests.database import DatabaseTestCase
from tests.store.samples import later, profile, recording
from voxrec.errors import NotFound
from voxrec.model import Profile, Recording
from voxrec.store.profiles import Profiles
from voxrec.store.recordings import Recordings
from voxrec.store.repository import apply_change


class ApplyChangeTests(DatabaseTestCase):
    def test_id_and_creation_time_are_retained(self) -> None:
        old = profile(name="old")

        def change(_: Profile) -> Profile:
            return profile(name="new", created_at=later(9))

        self.assertEqual(apply_change(change, old), msgspec.structs.replace(old, name="new"))


class ScopeTests(DatabaseTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.profiles = Profiles(self.pool)
        self.recordings = Recordings(self.pool)
        self.own, self.other = [await self.profiles.create(profile(created_at=later(n))) for n in range(2)]
        self.own_recording, self.other_recording = [
            await self.recordings.create(recording(profile_id=owner.id)) for owner in (self.own, self.other)
        ]
        self.scope = frozenset({self.own.id})

    def test_scope_of_all_profiles(self) -> None:
        self.assertIs(self.profiles.scoped_to(None), self.profiles)
        self.assertIs(self.recordings.scoped_to(None), self.recordings)

    async def test_profiles_in_scope(self) -> None:
        scoped = self.profiles.scoped_to(self.scope)
        self.assertEqual(await scoped.get(self.own.id), self.own)
        self.assertEqual(await scoped.page(), [self.own])
        self.assertEqual(await scoped.get_many([self.own.id, self.other.id]), [self.own])
        await scoped.update(self.own.id, lambda old: old)
        await scoped.delete(self.own.id)

    async def test_profiles_out_of_scope_do_not_exist(self) -> None:
        scoped = self.profiles.scoped_to(self.scope)
        for attempt in (
            scoped.get(self.other.id),
            scoped.update(self.other.id, lambda old: old),
            scoped.delete(self.other.id),
            scoped.create(profile()),
        ):
            with self.assertRaises(NotFound):
                await attempt
        self.assertEqual(len(await self.profiles.page()), 2)

    async def test_recordings_in_scope(self) -> None:
        scoped = self.recordings.scoped_to(self.scope)
        self.assertEqual(await scoped.get(self.own_recording.id), self.own_recording)
        self.assertEqual(await scoped.page(), [self.own_recording])
        await scoped.create(recording(profile_id=self.own.id))
        await scoped.update(self.own_recording.id, lambda old: old)
        await scoped.delete(self.own_recording.id)

    async def test_recordings_out_of_scope_do_not_exist(self) -> None:
        async def unchanged(old: Recording) -> Recording:
            return old

        scoped = self.recordings.scoped_to(self.scope)
        for attempt in (
            scoped.get(self.other_recording.id),
            scoped.update(self.other_recording.id, lambda old: old),
            scoped.update_async(self.other_recording.id, unchanged),
            scoped.delete(self.other_recording.id),
            scoped.create(recording(profile_id=self.other.id)),
        ):
            with self.assertRaises(NotFound):
                await attempt
        self.assertEqual(len(await self.recordings.page()), 2)

    async def test_empty_scope(self) -> None:
        self.assertEqual(await self.profiles.scoped_to(frozenset()).page(), [])
        self.assertEqual(await self.recordings.scoped_to(frozenset()).page(), [])

    async def test_unknown_id(self) -> None:
        unknown = uuid4()
        with self.assertRaisesRegex(NotFound, f"There is no recording {unknown}."):
            await self.recordings.get(unknown)


class UpdateAsyncTests(DatabaseTestCase):
    async def test_result_of_the_coroutine_is_stored(self) -> None:
        recordings = Recordings(self.pool)
        stored = await recordings.create(recording(metadata={"a": 1e2}))

        async def change(old: Recording) -> Recording:
            await self.pool.query("SELECT pg_sleep(0.01)")
            return msgspec.structs.replace(old, id=uuid4(), size=7)

        changed = await recordings.update_async(stored.id, change)
        self.assertEqual((changed.id, changed.size, changed.metadata), (stored.id, 7, {"a": 100}))
        self.assertEqual(await recordings.get(stored.id), changed)
