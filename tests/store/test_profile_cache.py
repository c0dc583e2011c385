"""Tests of voxrec.store.profile_cache."""

from pathlib import Path
from uuid import UUID, uuid4

import msgspec
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import capturedLogs

from tests.database import DatabaseTestCase, cluster, reactor, until
from tests.store.samples import profile
from voxrec.model import Profile
from voxrec.postgres.listener import PROFILES_CHANNEL, Listener
from voxrec.store import profile_cache as module
from voxrec.store.profile_cache import ProfileCache
from voxrec.store.profile_snapshot import ProfileSnapshot
from voxrec.store.profiles import Profiles


class ProfileCacheTests(DatabaseTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.profiles = Profiles(self.pool)
        self.file = Path(self.mktemp())
        self.cache = self.make_cache()
        self.listener = Listener(
            reactor, self.dsn, {PROFILES_CHANNEL: self.cache.invalidate}, self.cache.invalidate_all
        )

    async def tearDown(self) -> None:  # type: ignore[override]
        await self.listener.stopService()
        await self.cache.stopService()
        await super().tearDown()

    def make_cache(self) -> ProfileCache:
        return ProfileCache(reactor, self.profiles, self.pool, ProfileSnapshot(self.file), deferToThread)

    async def start(self) -> None:
        self.listener.startService()
        await until(lambda: self.cache.loaded)

    async def test_find_by_id_and_by_number(self) -> None:
        known = await self.profiles.create(
            profile(id=UUID("abcdefab-0000-4000-8000-00000000000a"), numbers=("+49301",))
        )
        self.assertIsNone(self.cache.find(str(known.id)))
        await self.start()
        for dialled in (str(known.id), str(known.id).upper(), "+49301", "49301"):
            self.assertEqual(self.cache.find(dialled), known)
        for dialled in ("", "+", "+4930", "0049301", str(uuid4()), known.id.hex):
            self.assertIsNone(self.cache.find(dialled))

    async def test_changes_are_followed(self) -> None:
        await self.start()
        known = await self.profiles.create(profile(numbers=("+491", "+492")))
        await until(lambda: self.cache.find("+491"))

        def change(old: Profile) -> Profile:
            return msgspec.structs.replace(old, numbers=("+492", "+493"))

        changed = await self.profiles.update(known.id, change)
        await until(lambda: self.cache.find("+493"))
        self.assertEqual(self.cache.find("+492"), changed)
        self.assertIsNone(self.cache.find("+491"))
        await self.profiles.delete(known.id)
        await until(lambda: not self.cache.find(str(known.id)))
        self.assertIsNone(self.cache.find("+492"))
        self.assertEqual(len(self.cache), 0)

    async def test_number_moved_to_another_profile(self) -> None:
        one = await self.profiles.create(profile(numbers=("+491",)))
        await self.start()
        await self.profiles.delete(one.id)
        two = await self.profiles.create(profile(numbers=("+491",)))
        await until(lambda: self.cache.find("+491") == two and len(self.cache) == 1)

    async def test_many_changes_at_once(self) -> None:
        await self.start()
        await self.pool.execute(
            """
            INSERT INTO profiles SELECT gen_random_uuid(), 'bulk', NULL, NULL, FALSE, 'wav', 'mono', TRUE, 0, 'none',
                                        NULL, NULL, NULL, '{}', now(), now() FROM generate_series(1, 2000)
            """
        )
        await until(lambda: len(self.cache) == 2000)
        await self.pool.execute("DELETE FROM profiles")
        await until(lambda: len(self.cache) == 0)

    async def test_contents_stay_while_postgresql_is_unavailable(self) -> None:
        known = await self.profiles.create(profile(numbers=("+491",)))
        await self.start()
        cluster().stop()
        await until(lambda: not self.pool.ready)
        self.cache.invalidate_all()
        await deferLater(reactor, 0.1)
        self.assertEqual(self.cache.find("+491"), known)
        self.assertTrue(self.cache.loaded)
        cluster().launch()
        await self.pool.when_ready()
        await self.profiles.delete(known.id)
        await until(lambda: not self.cache.find("+491"))

    async def test_snapshot_is_loaded_at_the_start(self) -> None:
        known = await self.profiles.create(profile(numbers=("+491",), metadata={"customer": "ä"}))
        await self.start()
        await self.cache.stopService()
        self.assertEqual(self.file.stat().st_mode & 0o777, 0o600)
        await self.listener.stopService()
        self.cache = self.make_cache()
        await self.cache.when_loaded(0.1)
        self.assertFalse(self.cache.loaded)
        await self.cache.startService()
        self.assertEqual(self.cache.find("+491"), known)
        self.assertTrue(self.cache.loaded)
        self.assertFalse(self.cache.confirmed)
        await self.profiles.delete(known.id)
        self.listener = Listener(
            reactor, self.dsn, {PROFILES_CHANNEL: self.cache.invalidate}, self.cache.invalidate_all
        )
        self.listener.startService()
        await until(lambda: not self.cache.find("+491"))

    async def test_snapshot_of_a_killed_process(self) -> None:
        await self.start()
        await self.cache.save_snapshot()
        known = await self.profiles.create(profile(numbers=("+491",)))
        await until(lambda: self.cache.find("+491"))
        while not self.file.read_bytes():
            await self.cache.save_snapshot()
            await deferLater(reactor, 0.01)
        restarted = self.make_cache()
        await restarted.startService()
        self.assertEqual(restarted.find("+491"), known)

    async def test_changes_are_appended_to_the_snapshot(self) -> None:
        self.patch(module, "_SAVE_TIME_SHARE", 1e9)
        changing = await self.profiles.create(profile())
        await self.start()
        await self.cache.save_snapshot()
        before = self.file.read_bytes()
        changed = await self.profiles.update(changing.id, lambda old: msgspec.structs.replace(old, numbers=("+491",)))
        await until(lambda: self.cache.find("+491"))
        await self.cache.save_snapshot()
        self.assertEqual(self.file.read_bytes().count(b"\n"), 2)
        self.assertTrue(self.file.read_bytes().startswith(before))
        self.assertEqual(ProfileSnapshot(self.file).read(), [changed])

    async def test_nothing_of_a_deleted_profile_remains_in_the_snapshot(self) -> None:
        self.patch(module, "_SAVE_TIME_SHARE", 1e9)
        kept, deleted = await self.profiles.create(profile()), await self.profiles.create(profile(numbers=("+491",)))
        await self.start()
        await self.cache.save_snapshot()
        self.assertIn(b"+491", self.file.read_bytes())
        await self.profiles.delete(deleted.id)
        await until(lambda: len(self.cache) == 1)
        await self.cache.save_snapshot()
        self.assertNotIn(b"+491", self.file.read_bytes())
        self.assertEqual(ProfileSnapshot(self.file).read(), [kept])

    async def test_former_values_remain_in_the_snapshot_for_a_limited_time(self) -> None:
        self.patch(module, "_SAVE_TIME_SHARE", 1e9)
        changing = await self.profiles.create(profile(numbers=("+491",)))
        await self.start()
        await self.cache.save_snapshot()
        await self.profiles.update(changing.id, lambda old: msgspec.structs.replace(old, numbers=("+492",)))
        await until(lambda: self.cache.find("+492"))
        await self.cache.save_snapshot()
        self.assertIn(b"+491", self.file.read_bytes())
        self.patch(module, "_MAX_APPENDED_AGE", 0.0)
        await self.cache.save_snapshot()
        self.assertNotIn(b"+491", self.file.read_bytes())

    async def test_snapshot_is_rewritten_after_many_changes(self) -> None:
        self.patch(module, "_MIN_APPENDS", 2)
        self.patch(module, "_SAVE_TIME_SHARE", 1e9)
        known = await self.profiles.create(profile(name=""))
        await self.start()
        await self.cache.save_snapshot()

        def change(old: Profile) -> Profile:
            return msgspec.structs.replace(old, name=f"{old.name}I")

        async def lines_after_a_change() -> int:
            changed = await self.profiles.update(known.id, change)
            await until(lambda: self.cache.find(str(known.id)) == changed)
            await self.cache.save_snapshot()
            self.assertEqual(ProfileSnapshot(self.file).read(), [changed])
            return self.file.read_bytes().count(b"\n")

        self.assertEqual([await lines_after_a_change() for _ in range(5)], [2, 3, 4, 1, 2])

    async def test_snapshot_is_rewritten_after_a_failed_append(self) -> None:
        self.patch(module, "_SAVE_TIME_SHARE", 1e9)
        await self.start()
        await self.cache.save_snapshot()
        self.file.unlink()
        known = await self.profiles.create(profile())
        await until(lambda: len(self.cache) == 1)
        await self.cache.save_snapshot()
        self.assertFalse(self.file.exists())
        await self.cache.save_snapshot()
        self.assertEqual(ProfileSnapshot(self.file).read(), [known])

    async def test_unreadable_snapshot_is_ignored(self) -> None:
        self.file.write_bytes(b"{rubbish")
        with capturedLogs() as logs:
            await self.cache.startService()
        self.assertFalse(self.cache.loaded)
        self.assertEqual([event["log_level"].name for event in logs], ["warn"])

    async def test_a_snapshot_without_profiles_is_as_good_as_none(self) -> None:
        """It was written before Profiles were created; a call that they concern could not be accepted."""
        for content in (None, b""):
            if content is not None:
                self.file.write_bytes(content)
            with capturedLogs() as logs:
                await self.cache.startService()
            self.assertFalse(self.cache.loaded)
            self.assertEqual(logs, [])
        await self.start()
        self.assertTrue(self.cache.confirmed)

    async def test_a_snapshot_that_cannot_be_saved_is_reported_once(self) -> None:
        self.patch(module, "_SAVE_TIME_SHARE", 1e9)
        self.file.with_suffix(".new").mkdir()
        await self.start()
        with capturedLogs() as logs:
            for _ in range(3):
                await self.cache.save_snapshot()
            self.assertEqual(len(logs), 1)
            self.file.with_suffix(".new").rmdir()
            await self.cache.save_snapshot()
        self.assertTrue(self.file.exists())
        self.assertEqual(len(logs), 1)

    async def test_missed_notifications_are_made_up_for(self) -> None:
        known = await self.profiles.create(profile(numbers=("+491",)))
        await self.start()
        await self.listener.stopService()
        await self.profiles.delete(known.id)
        await deferLater(reactor, 0.05)
        self.assertEqual(self.cache.find("+491"), known)
        self.listener.startService()
        await until(lambda: not self.cache.find("+491"))
