"""Text search, orders and further filters of Recordings: voxrec.store.recording_pages and its index."""

from datetime import UTC, datetime
from functools import partial
from typing import Any, cast
from uuid import UUID, uuid4

import msgspec
from twisted.internet.defer import Deferred

from tests.database import DatabaseTestCase
from tests.store.explaining import Explaining
from tests.store.samples import NOON, later, recording
from tests.subtest import subtest
from voxrec.model import Note, Position, Recording, RecordingSort, RecordingState, Verdict, VerdictFilter
from voxrec.postgres.pool import Pool
from voxrec.postgres.transaction import Transaction
from voxrec.store.notes import Notes
from voxrec.store.recording_filter import RecordingFilter
from voxrec.store.recordings import Recordings
from voxrec.store.search_index import BATCH, index_new_recordings, index_older_recordings
from voxrec.store.transaction_hook import TransactionHook


class PageTestCase(DatabaseTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.recordings = Recordings(self.pool)
        self.notes = Notes(self.pool)
        self.names: dict[UUID, str] = {}

    async def add(self, name: str, **fields: Any) -> Recording:
        """Add a Recording, which `found` calls ``name``."""
        seconds = len(self.names)
        stored = await self.recordings.create(
            recording(**{"state": RecordingState.COMPLETED, "created_at": later(-seconds), **fields})
        )
        self.names[stored.id] = name
        await index_new_recordings(self.pool)
        return stored

    async def add_note(self, about: Recording, text: str, created_at: datetime = NOON) -> Note:
        note = Note(id=uuid4(), recording_id=about.id, text=text, author="a", created_at=created_at, updated_at=NOON)
        return await self.notes.create(note)

    async def found(self, **filters: Any) -> list[str]:
        """Return the names of the Recordings, read in pages of two."""
        names: list[str] = []
        async for page in self.recordings.pages(RecordingFilter(**filters), 2):
            names += [self.names[each.id] for each in page]
        return names


class SearchTests(PageTestCase):
    async def test_numbers(self) -> None:
        await self.add("call", from_="+4930123456", to="+498912")
        await self.add("national", from_="030123456")
        await self.add("extension", from_="4711")
        for search, names in (
            ("+4930123456", ["call"]),
            ("+49 (30) 123-456", ["call"]),
            ("004930123456", ["call"]),
            ("030 123456", ["call", "national"]),
            ("030/12 34 56", ["call", "national"]),
            ("030 123", ["call", "national"]),
            ("+49 (0)30 123", ["call"]),
            ("089", ["call"]),
            ("123456", ["call", "national"]),
            ("3456", ["call", "national"]),
            ("+4930", ["call"]),
            ("4930", ["call"]),
            ("+30", []),
            ("8912", ["call"]),
            ("4711", ["extension"]),
            ("4711 030123456", []),
            ("+49891 3456", ["call"]),
            ("2345", []),
            ("3456 8912", ["call"]),
        ):
            with subtest(search):
                self.assertEqual(await self.found(search=search), names)

    async def test_words_of_names_metadata_tags_and_notes(self) -> None:
        await self.add("name", from_name="Jürgen Müller-Lüdenscheidt")
        await self.add("metadata", metadata={"customer": {"name": "Acme, Inc."}, "cases": [4711, "AZ-99"], "vip": True})
        await self.add("tag", tags=("complaint", "VIP"))
        noted = await self.add("note")
        await self.add_note(noted, "The caller agrees.\nCall back: 030 / 99 88 77")
        for search, names in (
            ("müller", ["name"]),
            ("MULLER", ["name"]),
            ("mül jür", ["name"]),
            ("luden", ["name"]),
            ("Müller-Lüdenscheidt", ["name"]),
            ("ller", []),
            ("acme", ["metadata"]),
            ("AZ-99", ["metadata"]),
            ("471", ["metadata"]),
            ("customer", []),
            ("vip", ["tag"]),
            ("agree", ["note"]),
            ("998877", ["note"]),
            ("+4930998877", []),
            ("agree müller", []),
            ("' | a:*", ["metadata", "note"]),
            ("\\", []),
            ("!agree", ["note"]),
            ("…", []),
        ):
            with subtest(search):
                self.assertEqual(await self.found(search=search), names)

    async def test_changes_and_erasure(self) -> None:
        stored = await self.add("it", from_name="Alice", metadata={"case": "first"}, tags=("old",))
        note = await self.add_note(stored, "agreed")
        change = partial(msgspec.structs.replace, metadata={"case": "second"}, tags=("new",))
        await self.recordings.update(stored.id, change)
        for search, matches in (("first", 0), ("second", 1), ("old", 0), ("new", 1), ("alice agreed", 1)):
            self.assertEqual(len(await self.found(search=search)), matches, search)
        await self.notes.update(stored.id, note.id, partial(msgspec.structs.replace, text="denied"))
        self.assertEqual((await self.found(search="agreed"), await self.found(search="denied")), ([], ["it"]))
        await self.notes.delete(stored.id, note.id, lambda _: None)
        self.assertEqual(await self.found(search="denied"), [])
        await self.add_note(stored, "last")
        await self.recordings.delete(stored.id)
        self.assertEqual(await self.pool.query("SELECT * FROM recording_search"), [])

    async def test_calls_do_not_write_to_the_index(self) -> None:
        ringing = recording(from_name="Alice", state=RecordingState.RECORDING)
        await self.recordings.record(ringing)
        ended = msgspec.structs.replace(ringing, state=RecordingState.PROCESSING)
        await self.recordings.record(ended)
        await self.recordings.complete(msgspec.structs.replace(ended, state=RecordingState.COMPLETED, duration=3.0))
        self.assertEqual(await self.pool.query("SELECT * FROM recording_search"), [])

    async def test_a_new_recording_is_indexed_once(self) -> None:
        stored = await self.add("it", from_name="Alice", state=RecordingState.RECORDING)
        self.assertEqual(await self.found(search="alice"), ["it"])
        before = await self.pool.query("SELECT ctid::text, xmin::text FROM recording_search")
        await self.recordings.complete(msgspec.structs.replace(stored, state=RecordingState.COMPLETED, duration=3.0))
        self.assertEqual([await index_new_recordings(self.pool) for _ in range(2)], [1, 0])
        self.assertEqual(await self.pool.query("SELECT ctid::text, xmin::text FROM recording_search"), before)

    async def test_changes_before_a_new_recording_is_indexed(self) -> None:
        stored = await self.recordings.create(recording(from_name="Alice"))
        self.names[stored.id] = "it"
        await self.add_note(stored, "agreed")
        await self.recordings.update(stored.id, partial(msgspec.structs.replace, tags=("new",)))
        await index_new_recordings(self.pool)
        self.assertEqual(await self.found(search="alice agreed new"), ["it"])

    async def test_concurrent_changes_of_a_recording_without_index(self) -> None:
        """A note and a tag of two transactions, of which neither sees what the other one writes."""
        stored = await self.recordings.create(recording(from_name="Alice"))
        self.names[stored.id] = "it"
        note = Note(id=uuid4(), recording_id=stored.id, text="agreed", author="a", created_at=NOON, updated_at=NOON)
        tagged: list[Deferred[int]] = []

        async def hook(_transaction: Transaction, _note: Note) -> None:
            update = self.pool.execute("UPDATE recordings SET tags = '{new}' WHERE id = %s", (stored.id,))
            tagged.append(Deferred.fromCoroutine(update))
            while not await self.pool.query("SELECT 1 FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'"):
                pass

        await self.notes.create(note, TransactionHook(enqueue=hook))
        await tagged[0]
        self.assertEqual(await self.found(search="alice agreed new"), ["it"])

    async def test_a_recording_that_is_deleted_before_it_is_indexed(self) -> None:
        stored = await self.recordings.create(recording(from_name="Alice"))
        await self.recordings.delete(stored.id)
        self.assertEqual(await index_new_recordings(self.pool), 2)
        self.assertEqual(await self.pool.query("SELECT * FROM recording_search"), [])

    async def test_events_that_were_deleted_before_their_recordings_were_indexed(self) -> None:
        await self.add("0", from_name="Alice")
        lost = await self.recordings.create(recording(from_name="Alice"))
        await self.recordings.create(recording(from_name="Bob"))
        await index_older_recordings(self.pool)
        await self.pool.execute("DELETE FROM events WHERE id < (SELECT max(id) FROM events)")
        await self.pool.execute("DELETE FROM recording_search_progress")
        self.names[lost.id] = "lost"
        self.assertEqual(await index_new_recordings(self.pool), 1)
        self.assertEqual(await index_older_recordings(self.pool), 3)
        self.assertCountEqual(await self.found(search="alice"), ["0", "lost"])

    async def test_thousands_of_words(self) -> None:
        stored = await self.add("it", from_name="Alice")
        for part in range(12):
            words = " ".join(f"word{number}{'ü' * 30}" for number in range(part * 250, part * 250 + 250))
            await self.add_note(stored, words[:10_000], later(part))
        self.assertEqual(await self.found(search="alice word1999"), ["it"])
        self.assertEqual(await self.found(search="alice word2999"), [], "more words than are indexed")

    async def test_older_recordings_are_indexed_in_batches(self) -> None:
        for number in range(3):
            await self.add(str(number), from_name="Alice")
        await self.pool.execute("DELETE FROM recording_search; DELETE FROM recording_search_progress")
        await self.pool.execute(
            "INSERT INTO recording_search_progress SELECT created_at + interval '1 s', id FROM recordings "
            "ORDER BY created_at DESC LIMIT 1"
        )
        self.assertEqual(await self.found(search="alice"), [])
        self.assertGreater(BATCH, 3)
        self.assertEqual([await index_older_recordings(self.pool) for _ in range(3)], [3, 0, 0])
        self.assertEqual(await self.found(search="alice"), ["0", "1", "2"])
        self.assertEqual(await self.pool.query("SELECT * FROM recording_search_progress"), [])


class FilterTests(PageTestCase):
    async def test_each_filter(self) -> None:
        first = await self.add("a", duration=10.0, node="one", verdict=Verdict(ok=True))
        await self.add("b", duration=20.0, node="two", verdict=Verdict(ok=False, reasons=("x",)), from_name="Bob")
        await self.add("c", duration=None, legal_hold=True, from_name="Bob", tags=("t",), metadata={"k": 1})
        for filters, names in (
            ({"min_duration": 10}, ["a", "b"]),
            ({"min_duration": 10.5}, ["b"]),
            ({"max_duration": 10}, ["a"]),
            ({"min_duration": 0, "max_duration": 15}, ["a"]),
            ({"node": "two"}, ["b"]),
            ({"verdict": VerdictFilter.OK}, ["a"]),
            ({"verdict": VerdictFilter.PROBLEM}, ["b"]),
            ({"legal_hold": True}, ["c"]),
            ({"legal_hold": False}, ["a", "b"]),
            ({"search": "bob", "tags": ["t"]}, ["c"]),
            ({"search": "bob", "metadata": {"k": 1}}, ["c"]),
            ({"search": "bob", "node": "two"}, ["b"]),
            ({"search": "bob", "profile_id": first.profile_id}, []),
            ({"search": "bob", "states": [RecordingState.FAILED]}, []),
            ({"search": "bob", "since": later(-1)}, ["b"]),
            ({"search": "bob", "until": later(-1)}, ["c"]),
            ({"ids": [first.id, uuid4()]}, ["a"]),
            ({"ids": [first.id], "search": "bob"}, []),
            ({"tags": ["t"], "sort": RecordingSort.LONGEST}, ["c"]),
            ({"since": later(-1), "sort": RecordingSort.LARGEST, "node": "one"}, ["a"]),
        ):
            with subtest(filters):
                self.assertEqual(await self.found(**cast("dict[str, Any]", filters)), names)

    async def test_a_scope_limits_every_way_to_a_page(self) -> None:
        own = await self.add("own", from_name="Bob", duration=1.0)
        await self.add("other", from_name="Bob", duration=2.0)
        self.recordings = self.recordings.scoped_to(frozenset([own.profile_id]))
        for filters in (
            {"search": "bob"},
            {"sort": RecordingSort.LONGEST},
            {"min_duration": 1},
            {"ids": [*self.names]},
        ):
            with subtest(filters):
                self.assertEqual(await self.found(**cast("dict[str, Any]", filters)), ["own"])

    async def test_few_profiles_are_read_one_by_one_whatever_the_page(self) -> None:
        for profiles, limit, few in ((10, 1000, True), (10, 10_000, True), (11, 1000, False), (200, 50, True)):
            with subtest(f"{profiles} {limit}"):
                self.assertEqual(RecordingFilter().has_column_index([uuid4()] * profiles, limit), few)


class SortTests(PageTestCase):
    async def test_orders_with_ties_and_unknown_values(self) -> None:
        for number, duration in enumerate((5.0, None, 0.1 + 0.2, 5.0, None, 5.0)):
            await self.add(str(number), duration=duration, size=None if duration is None else int(duration))
        everything = await self.recordings.page()
        for sort in RecordingSort:
            with subtest(sort):
                keys: dict[str, Any] = {
                    "createdAt": lambda each: (each.created_at, each.id),
                    "duration": lambda each: (-1 if each.duration is None else each.duration, each.id),
                    "size": lambda each: (-1 if each.size is None else each.size, each.id),
                }
                expected = sorted(everything, key=keys[sort.field], reverse=sort.descending)
                self.assertEqual(await self.found(sort=sort), [self.names[each.id] for each in expected])

    async def test_pages_while_recordings_are_added(self) -> None:
        before = [await self.add(str(number), duration=float(number // 3)) for number in range(9)]
        for sort in (RecordingSort.LONGEST, RecordingSort.SHORTEST, RecordingSort.OLDEST, RecordingSort.NEWEST):
            with subtest(sort):
                seen: list[UUID] = []
                after: Position | None = None
                while page := await self.recordings.page(RecordingFilter(sort=sort), 2, after):
                    seen += [each.id for each in page]
                    after = sort.position_of(page[-1])
                    added = await self.add("new", duration=1.0, created_at=datetime.now(UTC))
                    if len(self.names) % 2:
                        await self.recordings.delete(added.id)
                self.assertEqual(len(seen), len({*seen}), "a Recording was on two pages")
                self.assertLessEqual({each.id for each in before}, {*seen}, "a Recording was on no page")

    async def test_neighbors(self) -> None:
        stored = [
            await self.add(str(number), duration=1.0, from_name="Bob" if number % 2 else "") for number in range(5)
        ]
        for filters in (
            *(RecordingFilter(sort=sort) for sort in RecordingSort),
            RecordingFilter(search="bob"),
            RecordingFilter(min_duration=1),
        ):
            with subtest(filters):
                listed = [each.id for each in await self.recordings.page(filters)]
                for position, recording_id in enumerate(listed):
                    current = next(each for each in stored if each.id == recording_id)
                    previous, following = await self.recordings.neighbors(current, filters)
                    expected = [*listed[max(position - 1, 0) : position], *listed[position + 1 : position + 2]]
                    self.assertEqual([each.id for each in (previous, following) if each is not None], expected)


class PlanTests(PageTestCase):
    """The plans of PostgreSQL for many Recordings, with the statistics that it has collected about them."""

    COUNT = 12_000

    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        await self.pool.execute("SET session_replication_role = replica")
        await self.pool.execute(
            """
            INSERT INTO recordings (id, profile_id, state, format, channels, timeline, metadata, from_name, "from",
                                    duration, legal_hold, created_at, updated_at)
            SELECT gen_random_uuid(), '11111111-1111-4111-8111-111111111111', 'completed', 'wav', 1, '[]', '{}',
                   'Everybody' || CASE WHEN number %% 1000 = 9 THEN ' Rare' ELSE '' END
                   || CASE WHEN number > %s - 300 THEN ' Old' ELSE '' END
                   || CASE WHEN number > %s - 5 THEN ' Even Odd' WHEN number %% 2 = 0 THEN ' Even' ELSE ' Odd' END,
                   '+4930' || number, number %% 100, FALSE, now() - number * interval '1 s', now()
            FROM generate_series(1, %s) AS number;
            INSERT INTO recording_search SELECT id, created_at, voxrec_search_document(ARRAY[from_name, "from"])
            FROM recordings
            ON CONFLICT DO NOTHING;
            ANALYZE recordings, recording_search
            """,
            (self.COUNT, self.COUNT, self.COUNT),
        )

    async def explain(self, limit: int = 50, **filters: Any) -> Explaining:
        explaining = Explaining(self.pool)
        await Recordings(cast("Pool", explaining)).page(RecordingFilter(**filters), limit)
        return explaining

    async def test_a_common_word_reads_little_more_than_its_page(self) -> None:
        explaining = await self.explain(search="everybody")
        self.assertEqual(explaining.rows, 50)
        self.assertLess(explaining.rows_read, 200)

    async def test_a_rare_word_is_found_by_the_index(self) -> None:
        for search, found in (("rare", 12), ("everybody rare", 12), ("+4930123", 11), ("nobody", 0)):
            with subtest(search):
                explaining = await self.explain(search=search)
                self.assertEqual(explaining.rows, found)
                self.assertIn("recording_search_document", explaining.indexes)
                self.assertEqual(explaining.scanned_tables, [])

    async def test_common_words_that_are_rare_together(self) -> None:
        """The walk ends when it has cost as much as the index entries of both words, a hundred for each row."""
        for sort in (RecordingSort.NEWEST, RecordingSort.OLDEST, RecordingSort.LONGEST):
            with subtest(sort):
                explaining = await self.explain(search="even odd", sort=sort)
                self.assertEqual((explaining.rows, explaining.scanned_tables), (5, []))
                self.assertLess(explaining.rows_read, 3000)

    async def test_a_word_that_only_old_recordings_have(self) -> None:
        explaining = await self.explain(search="old")
        self.assertEqual((explaining.rows, explaining.scanned_tables), (50, []))

    async def test_orders_use_their_index(self) -> None:
        for sort, index in ((RecordingSort.LONGEST, "recordings_duration"), (RecordingSort.LARGEST, "recordings_size")):
            with subtest(sort):
                explaining = await self.explain(sort=sort)
                self.assertEqual((explaining.rows, {*explaining.indexes}), (50, {index}))
                self.assertLess(explaining.rows_read, 200)

    async def test_profiles_of_which_one_has_far_more_recordings_than_most(self) -> None:
        await self.pool.execute(
            """
            INSERT INTO recordings (id, profile_id, state, format, channels, timeline, metadata, legal_hold, created_at,
                                    updated_at)
            SELECT gen_random_uuid(), gen_random_uuid(), 'completed', 'wav', 1, '[]', '{}', FALSE, now(), now()
            FROM generate_series(1, 3000);
            UPDATE recordings SET metadata = '{"site": "Hamburg"}';
            INSERT INTO recording_marks
                SELECT jsonb_hash_extended('["site", "Hamburg"]', 0), created_at, id FROM recordings
            ON CONFLICT DO NOTHING;
            ANALYZE recordings
            """
        )
        explaining = Explaining(self.pool)
        profile_ids = frozenset([UUID("11111111-1111-4111-8111-111111111111"), uuid4()])
        recordings = Recordings(cast("Pool", explaining)).scoped_to(profile_ids)
        page = await recordings.page(RecordingFilter(metadata={"site": "Hamburg"}), 50)
        self.assertEqual((len(page), explaining.scanned_tables), (50, []))
        self.assertLess(
            explaining.rows_read, 3500, "3,000 index entries are counted; of 12,000 Recordings a page is read"
        )
