"""The Profiles in memory: found by what is dialled, kept current, and kept while PostgreSQL is away."""

from pathlib import Path
from uuid import UUID, uuid4

import msgspec
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from tests.database import DatabaseTestCase, cluster, reactor, until
from tests.store.samples import profile
from voxrec.model import Profile
from voxrec.postgres.listener import PROFILES_CHANNEL, Listener
from voxrec.store import profile_cache as directory
from voxrec.store.profile_cache import ProfileCache
from voxrec.store.profile_snapshot import ProfileSnapshot
from voxrec.store.profiles import Profiles


class Directory(DatabaseTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.profiles = Profiles(self.pool)
        self.file = Path(self.mktemp())
        self.directory = self.new_directory()
        self.listener = Listener(
            reactor, self.dsn, {PROFILES_CHANNEL: self.directory.invalidate}, self.directory.invalidate_all
        )

    async def tearDown(self) -> None:  # type: ignore[override]
        await self.listener.stopService()
        await self.directory.stopService()
        await super().tearDown()

    def new_directory(self) -> ProfileCache:
        return ProfileCache(reactor, self.profiles, self.pool, ProfileSnapshot(self.file), deferToThread)

    async def begin(self) -> None:
        self.listener.startService()
        await until(lambda: self.directory.loaded)

    async def test_by_id_and_by_number(self) -> None:
        known = await self.profiles.create(
            profile(id=UUID("abcdefab-0000-4000-8000-00000000000a"), numbers=("+49301",))
        )
        self.assertIsNone(self.directory.find(str(known.id)))
        await self.begin()
        for dialled in (str(known.id), str(known.id).upper(), "+49301", "49301"):
            self.assertEqual(self.directory.find(dialled), known)
        for dialled in ("", "+", "+4930", "0049301", str(uuid4()), known.id.hex):
            self.assertIsNone(self.directory.find(dialled))

    async def test_it_follows_every_change(self) -> None:
        await self.begin()
        known = await self.profiles.create(profile(numbers=("+491", "+492")))
        await until(lambda: self.directory.find("+491"))

        def change(old: Profile) -> Profile:
            return msgspec.structs.replace(old, numbers=("+492", "+493"))

        changed = await self.profiles.update(known.id, change)
        await until(lambda: self.directory.find("+493"))
        self.assertEqual(self.directory.find("+492"), changed)
        self.assertIsNone(self.directory.find("+491"))
        await self.profiles.delete(known.id)
        await until(lambda: not self.directory.find(str(known.id)))
        self.assertIsNone(self.directory.find("+492"))
        self.assertEqual(len(self.directory), 0)

    async def test_a_number_that_moves_to_another_profile(self) -> None:
        one = await self.profiles.create(profile(numbers=("+491",)))
        await self.begin()
        await self.profiles.delete(one.id)
        two = await self.profiles.create(profile(numbers=("+491",)))
        await until(lambda: self.directory.find("+491") == two and len(self.directory) == 1)

    async def test_many_changes_at_once(self) -> None:
        await self.begin()
        await self.pool.execute(
            """
            INSERT INTO profiles SELECT gen_random_uuid(), 'bulk', NULL, NULL, FALSE, 'wav', 'mono', TRUE, 0, 'none',
                                        NULL, NULL, NULL, '{}', now(), now() FROM generate_series(1, 2000)
            """
        )
        await until(lambda: len(self.directory) == 2000)
        await self.pool.execute("DELETE FROM profiles")
        await until(lambda: len(self.directory) == 0)

    async def test_what_is_known_stays_while_postgresql_is_away(self) -> None:
        known = await self.profiles.create(profile(numbers=("+491",)))
        await self.begin()
        cluster().stop()
        await until(lambda: not self.pool.ready)
        self.directory.invalidate_all()
        await deferLater(reactor, 0.1)
        self.assertEqual(self.directory.find("+491"), known)
        self.assertTrue(self.directory.loaded)
        cluster().launch()
        await self.pool.when_ready()
        await self.profiles.delete(known.id)
        await until(lambda: not self.directory.find("+491"))

    async def test_what_the_last_run_knew_is_known_before_postgresql_answers(self) -> None:
        known = await self.profiles.create(profile(numbers=("+491",), metadata={"customer": "ä"}))
        await self.begin()
        await self.directory.stopService()
        self.assertEqual(self.file.stat().st_mode & 0o777, 0o600)
        await self.listener.stopService()
        self.directory = self.new_directory()
        await self.directory.when_loaded(0.1)
        self.assertFalse(self.directory.loaded)
        await self.directory.startService()
        self.assertEqual(self.directory.find("+491"), known)
        self.assertTrue(self.directory.loaded)
        self.assertFalse(self.directory.confirmed)
        await self.profiles.delete(known.id)
        self.listener = Listener(
            reactor, self.dsn, {PROFILES_CHANNEL: self.directory.invalidate}, self.directory.invalidate_all
        )
        self.listener.startService()
        await until(lambda: not self.directory.find("+491"))

    async def test_a_killed_run_leaves_what_it_knew_when_it_last_kept_it(self) -> None:
        await self.begin()
        await self.directory.save_snapshot()
        known = await self.profiles.create(profile(numbers=("+491",)))
        await until(lambda: self.directory.find("+491"))
        while not self.file.read_bytes():
            await self.directory.save_snapshot()
            await deferLater(reactor, 0.01)
        killed_now = self.new_directory()
        await killed_now.startService()
        self.assertEqual(killed_now.find("+491"), known)

    async def test_changes_are_added_to_what_is_kept_already(self) -> None:
        kept, gone = await self.profiles.create(profile()), await self.profiles.create(profile())
        await self.begin()
        await self.directory.save_snapshot()
        whole = self.file.read_bytes()
        changed = await self.profiles.update(kept.id, lambda old: msgspec.structs.replace(old, numbers=("+491",)))
        await self.profiles.delete(gone.id)
        await until(lambda: self.directory.find("+491") and len(self.directory) == 1)
        while self.file.read_bytes().count(b"\n") < 4:
            await self.directory.save_snapshot()
            await deferLater(reactor, 0.01)
        self.assertTrue(self.file.read_bytes().startswith(whole))
        self.assertEqual(ProfileSnapshot(self.file).read(), [changed])

    async def test_it_is_written_anew_once_there_are_more_changes_than_profiles(self) -> None:
        self.patch(directory, "_MIN_APPENDS", 2)
        self.patch(directory, "_SAVE_TIME_SHARE", 1e9)
        known = await self.profiles.create(profile(name=""))
        await self.begin()
        await self.directory.save_snapshot()

        def change(old: Profile) -> Profile:
            return msgspec.structs.replace(old, name=f"{old.name}I")

        async def lines_after_a_change() -> int:
            changed = await self.profiles.update(known.id, change)
            await until(lambda: self.directory.find(str(known.id)) == changed)
            await self.directory.save_snapshot()
            self.assertEqual(ProfileSnapshot(self.file).read(), [changed])
            return self.file.read_bytes().count(b"\n")

        self.assertEqual([await lines_after_a_change() for _ in range(5)], [2, 3, 4, 1, 2])

    async def test_half_a_line_at_its_end_is_passed_over(self) -> None:
        known = await self.profiles.create(profile())
        snapshot = ProfileSnapshot(self.file)
        snapshot.write([known])
        with self.file.open("ab") as file:
            file.write(self.file.read_bytes()[:40])
        self.assertEqual(snapshot.read(), [known])

    async def test_a_file_that_cannot_be_added_to_is_written_anew(self) -> None:
        self.patch(directory, "_SAVE_TIME_SHARE", 1e9)
        await self.begin()
        await self.directory.save_snapshot()
        self.file.unlink()
        known = await self.profiles.create(profile())
        await until(lambda: len(self.directory) == 1)
        await self.directory.save_snapshot()
        self.assertFalse(self.file.exists())
        await self.directory.save_snapshot()
        self.assertEqual(ProfileSnapshot(self.file).read(), [known])

    async def test_a_file_that_is_not_one_is_passed_over(self) -> None:
        self.file.write_bytes(b"{rubbish")
        await self.directory.startService()
        self.assertFalse(self.directory.loaded)

    async def test_what_nobody_could_tell_is_read_after_a_restart(self) -> None:
        known = await self.profiles.create(profile(numbers=("+491",)))
        await self.begin()
        await self.listener.stopService()
        await self.profiles.delete(known.id)
        await deferLater(reactor, 0.05)
        self.assertEqual(self.directory.find("+491"), known)
        self.listener.startService()
        await until(lambda: not self.directory.find("+491"))
