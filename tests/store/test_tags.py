"""Tags of Recordings in voxrec.store.recordings: the filter and its index."""

from collections.abc import Collection
from functools import partial
from typing import Any, cast

import msgspec

from tests.database import DatabaseTestCase
from tests.store.explaining import Explaining
from tests.store.samples import later, recording
from tests.subtest import subtest
from voxrec.cursor import Cursor
from voxrec.model import Recording, RecordingState
from voxrec.postgres.pool import Pool
from voxrec.postgres.statement import Row
from voxrec.store.recording_filter import RecordingFilter
from voxrec.store.recordings import Recordings


class TagTestCase(DatabaseTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.recordings = Recordings(self.pool)

    async def add(self, seconds: float, *tags: str, **fields: Any) -> Recording:
        return await self.recordings.create(recording(tags=tags, created_at=later(seconds), **fields))

    async def found(self, *tags: str, **filters: Any) -> list[Recording]:
        return await self.recordings.page(RecordingFilter(tags=tags, **filters))

    async def index_rows(self) -> list[Row]:
        return await self.pool.query("SELECT recording_id, mark, ctid::text, xmin::text FROM recording_marks")


class FilterTests(TagTestCase):
    async def test_recordings_with_all_tags(self) -> None:
        both = await self.add(3, "VIP", "complaint")
        one = await self.add(2, "complaint")
        other = await self.add(1, "vip", metadata={"tag": "complaint"})
        await self.add(0)
        for tags, expected in (
            (["complaint"], [both, one]),
            (["complaint", "VIP"], [both]),
            (["vip"], [other]),
            (["Vip"], []),
            (["complaint", "unknown"], []),
            ([], [both, one, other]),
        ):
            with subtest(tags):
                self.assertEqual((await self.found(*tags))[:3], expected)

    async def test_with_other_filters(self) -> None:
        older = await self.add(1, "a", from_="+1", metadata={"case": 1})
        newer = await self.add(2, "a", from_="+1", metadata={"case": 2})
        await self.add(3, "b", from_="+1", metadata={"case": 1})
        for filters, expected in (
            ({"from_": "+1"}, [newer, older]),
            ({"metadata": {"case": 1}}, [older]),
            ({"profile_id": newer.profile_id}, [newer]),
            ({"states": [RecordingState.FAILED]}, []),
            ({"since": later(2)}, [newer]),
            ({"until": later(2)}, [older]),
        ):
            with subtest(filters):
                self.assertEqual(await self.found("a", **cast("dict[str, Any]", filters)), expected)

    async def test_pages(self) -> None:
        stored = [await self.add(-number, "a") for number in range(5)]
        first = await self.recordings.page(RecordingFilter(tags=["a"]), 2)
        second = await self.recordings.page(RecordingFilter(tags=["a"]), 2, Cursor.after(first[-1]))
        self.assertEqual([*first, *second], stored[:4])


class IndexTests(TagTestCase):
    async def test_changes_and_deletion(self) -> None:
        stored = await self.add(0, "a", "b", metadata={"case": 1})
        for tags in (("b", "c"), (), ("c",)):
            await self.recordings.update(stored.id, partial(msgspec.structs.replace, tags=tags))
            for tag in ("a", "b", "c"):
                self.assertEqual(bool(await self.found(tag)), tag in tags, (tag, tags))
            self.assertEqual(len(await self.found(metadata={"case": 1})), 1)
            self.assertEqual(len(await self.index_rows()), len(tags) + 1)
        await self.recordings.delete(stored.id)
        self.assertEqual(await self.index_rows(), [])

    async def test_changes_of_the_state_write_nothing_to_the_index(self) -> None:
        stored = await self.add(0, "a", metadata={"case": 1})
        before = await self.index_rows()
        await self.recordings.complete(msgspec.structs.replace(stored, state=RecordingState.COMPLETED, tags=()))
        self.assertEqual((await self.recordings.get(stored.id)).tags, ("a",))
        self.assertEqual(await self.index_rows(), before)
        rows = await self.pool.query("SELECT indexdef FROM pg_indexes WHERE tablename = 'recordings'")
        self.assertEqual([index for (index,) in rows if "tags" in str(index)], [])


class PlanTests(TagTestCase):
    """The plans of PostgreSQL for many Recordings, with the statistics that it has collected about them."""

    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        await self.pool.execute("""
            INSERT INTO recordings (id, profile_id, state, format, channels, timeline, metadata, tags, legal_hold,
                                    created_at, updated_at)
            SELECT gen_random_uuid(), gen_random_uuid(), 'completed', 'wav', 1, '[]', '{}',
                   CASE WHEN number % 3000 = 9 THEN '{common,rare}'::text[] ELSE '{common}' END, FALSE,
                   now() - number * interval '1 s', now()
            FROM generate_series(1, 10000) AS number
        """)
        await self.pool.execute("ANALYZE recordings, recording_marks")

    async def explain(self, tags: Collection[str], limit: int) -> Explaining:
        explaining = Explaining(self.pool)
        await Recordings(cast("Pool", explaining)).page(RecordingFilter(tags=tags), limit)
        return explaining

    async def test_a_rare_tag_is_found_by_the_index(self) -> None:
        for tags in (["rare"], ["common", "rare"]):
            with subtest(tags):
                explaining = await self.explain(tags, 50)
                self.assertEqual({*explaining.indexes} - {"recordings_pkey"}, {"recording_marks_pkey"})
                self.assertEqual(explaining.rows, 4)
                self.assertEqual(explaining.scanned_tables, [])

    async def test_a_page_of_a_common_tag_does_not_read_all_recordings(self) -> None:
        explaining = await self.explain(["common"], 50)
        self.assertIn("recording_marks_pkey", explaining.indexes)
        self.assertEqual((explaining.rows, explaining.scanned_tables), (50, []))
        self.assertLess(explaining.rows_read, 110)  # of two indexes
