"""Tests of voxrec.store.profiles."""

from uuid import UUID, uuid4

import msgspec
from twisted.internet.defer import Deferred, DeferredList

from tests.database import DatabaseTestCase
from tests.store.samples import NOON, later, profile
from voxrec.cursor import Cursor
from voxrec.error_codes import FieldErrorCode
from voxrec.errors import Conflict, FieldError, InvalidInput, NotFound
from voxrec.model import Profile, Prompt, RecordChannels, RecordPrompt
from voxrec.postgres.pool import Pool
from voxrec.store.profiles import ProfileFilter, Profiles
from voxrec.store.prompts import Prompts

FULL = profile(
    name='Zoë\'s "desk" 100%',
    email="a@example.org, B@example.org",
    remote_sip_uri="sip:desk@example.org",
    numbers=("+4930200", "+4930100"),
    record=True,
    record_format="opus",
    record_channels=RecordChannels.DUAL,
    record_beep_at_start=False,
    record_beep_interval=15,
    record_prompt=RecordPrompt.CUSTOM,
    record_prompt_custom_id=uuid4(),
    webhook_url="https://example.org/hook",
    retention_days=30,
    metadata={"a": [1, 2.5, None, {"ü": "%s"}]},
    updated_at=later(1.000001),
)


async def add_prompt(pool: Pool) -> None:
    """Create the prompt that FULL plays."""
    assert FULL.record_prompt_custom_id is not None
    await Prompts(pool).create(Prompt(id=FULL.record_prompt_custom_id, created_at=NOON, updated_at=NOON))


class ProfilesTests(DatabaseTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.profiles = Profiles(self.pool)
        await add_prompt(self.pool)

    async def test_every_field_is_stored(self) -> None:
        least = profile()
        for new in (FULL, least):
            self.assertEqual(await self.profiles.create(new), new)
            self.assertEqual(await self.profiles.get(new.id), new)

    async def test_unknown_profile(self) -> None:
        unknown = uuid4()
        for attempt in (
            self.profiles.get(unknown),
            self.profiles.delete(unknown),
            self.profiles.update(unknown, lambda known: known),
        ):
            with self.assertRaisesRegex(NotFound, str(unknown)):
                await attempt

    async def test_all_collisions_are_reported(self) -> None:
        await self.profiles.create(FULL)
        other = msgspec.structs.replace(FULL, numbers=("+4930100", "+4930300", "+4930200"))
        with self.assertRaises(Conflict) as caught:
            await self.profiles.create(other)
        self.assertEqual(
            caught.exception.field_errors,
            (
                *(
                    FieldError(field, f"{value} is in use by another profile", FieldErrorCode.IN_USE, {"value": value})
                    for field, value in (("id", str(FULL.id)), ("numbers", "+4930100"), ("numbers", "+4930200"))
                ),
            ),
        )
        self.assertEqual(await self.profiles.all(), [FULL])

    async def test_concurrent_creations_with_the_same_numbers(self) -> None:
        one = profile(numbers=("+491", "+492", "+493"))
        two = profile(numbers=("+493", "+492", "+491"))
        results = await DeferredList(
            [Deferred.fromCoroutine(self.profiles.create(each)) for each in (one, two)], consumeErrors=True
        )
        self.assertEqual(sorted(success for success, _ in results), [False, True])

    async def test_value_that_cannot_be_stored(self) -> None:
        with self.assertRaises(InvalidInput):
            await self.profiles.create(profile(name="\0"))

    async def test_update(self) -> None:
        await self.profiles.create(FULL)

        def change(old: Profile) -> Profile:
            self.assertEqual(old, FULL)
            return msgspec.structs.replace(
                old, id=uuid4(), created_at=later(9), name=None, numbers=("+4930300", "+4930200"), updated_at=later(5)
            )

        changed = await self.profiles.update(FULL.id, change)
        self.assertEqual((changed.id, changed.created_at), (FULL.id, FULL.created_at))
        self.assertEqual(changed.numbers, ("+4930300", "+4930200"))
        self.assertEqual(await self.profiles.get(FULL.id), changed)
        await self.profiles.create(profile(numbers=("+4930100",)))  # the number is free again

    async def test_change_that_raises_stores_nothing(self) -> None:
        await self.profiles.create(FULL)

        def change(_: Profile) -> Profile:
            raise KeyError("If-Match")

        with self.assertRaises(KeyError):
            await self.profiles.update(FULL.id, change)
        with self.assertRaises(KeyError):
            await self.profiles.delete(FULL.id, change)  # type: ignore[arg-type]
        self.assertEqual(await self.profiles.get(FULL.id), FULL)

    async def test_update_with_a_number_in_use(self) -> None:
        await self.profiles.create(FULL)
        other = await self.profiles.create(profile(numbers=("+4930900",)))
        with self.assertRaises(Conflict) as caught:
            await self.profiles.update(
                other.id, lambda old: msgspec.structs.replace(old, numbers=("+4930900", "+4930100"))
            )
        self.assertEqual([fault.field for fault in caught.exception.field_errors], ["numbers"])
        self.assertEqual(await self.profiles.get(other.id), other)

    async def test_concurrent_updates_see_each_other(self) -> None:
        await self.profiles.create(profile(id=FULL.id, retention_days=1))

        def count(old: Profile) -> Profile:
            days = (old.retention_days or 0) + 1
            return msgspec.structs.replace(old, retention_days=days, numbers=(f"+49{days}",))

        await DeferredList([Deferred.fromCoroutine(self.profiles.update(FULL.id, count)) for _ in range(8)])
        final = await self.profiles.get(FULL.id)
        self.assertEqual((final.retention_days, final.numbers), (9, ("+499",)))

    async def test_delete_releases_the_numbers(self) -> None:
        await self.profiles.create(FULL)
        await self.profiles.delete(FULL.id)
        self.assertEqual(await self.profiles.all(), [])
        await self.profiles.create(profile(numbers=FULL.numbers))


class PageTests(DatabaseTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.profiles = Profiles(self.pool)
        await add_prompt(self.pool)
        # Two were created at the same time, so that the id determines their order.
        self.ten = [profile(id=UUID(int=n), created_at=later(n // 2), numbers=(f"+4930{n}",)) for n in range(10)]
        for each in self.ten:
            await self.profiles.create(each)
        self.newest_first = self.ten[::-1]

    async def test_all(self) -> None:
        self.assertEqual(await self.profiles.all(), self.newest_first)

    async def test_pages(self) -> None:
        for size in (1, 3, 5, 10, 11):
            pages = [page async for page in self.profiles.pages(size=size)]
            self.assertEqual([each for page in pages for each in page], self.newest_first)
            self.assertTrue(all(len(page) <= size for page in pages))

    async def test_new_profiles_do_not_shift_a_page(self) -> None:
        first = await self.profiles.page(limit=4)
        await self.profiles.create(profile(created_at=later(100)))
        await self.profiles.delete(first[-1].id)
        self.assertEqual(await self.profiles.page(limit=4, after=Cursor.after(first[-1])), self.newest_first[4:8])

    async def test_filters(self) -> None:
        await self.profiles.create(FULL)
        for filters in (
            ProfileFilter(number="+4930100"),
            ProfileFilter(emails=("b@EXAMPLE.org",)),
            ProfileFilter(emails=("x@example.org", "a@example.org")),
            ProfileFilter(emails=("a@example.org",)),
            ProfileFilter(remote_sip_uri="sip:desk@example.org"),
            ProfileFilter(number="+4930200", emails=("a@example.org",), remote_sip_uri="sip:desk@example.org"),
            ProfileFilter(search='"DESK" 100%'),
            ProfileFilter(search="30 200"),
            ProfileFilter(search=str(FULL.id).upper()),
        ):
            self.assertEqual(await self.profiles.page(filters), [FULL])
        for filters in (
            ProfileFilter(number="+1"),
            ProfileFilter(search="desk_"),
            ProfileFilter(search="+4931"),
            ProfileFilter(emails=("org@example.org",)),
            ProfileFilter(number="+4930200", emails=("c@example.org",)),
        ):
            self.assertEqual(await self.profiles.page(filters), [])

    async def test_get_many(self) -> None:
        ids = [self.ten[3].id, uuid4(), self.ten[7].id]
        found = await self.profiles.get_many(ids)
        self.assertEqual({each.id for each in found}, {self.ten[3].id, self.ten[7].id})
        self.assertEqual(await self.profiles.get_many([]), [])

    async def test_microseconds_are_stored(self) -> None:
        self.assertEqual(NOON.microsecond, 123456)
        self.assertEqual((await self.profiles.get(UUID(int=1))).created_at, NOON)
