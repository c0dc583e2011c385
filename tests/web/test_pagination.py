"""Tests of voxrec.web.pagination, over REST."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import quote
from uuid import UUID, uuid4

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase

from tests.api.rest_test_case import CREATED_AT, PUBLIC_URL, ClientResponse, RestTestCase
from tests.database import reactor, until
from tests.subtest import subtest
from tests.web.raw_connection import open_connection
from voxrec.cursor import Cursor
from voxrec.errors import StoreUnavailable
from voxrec.model import Profile
from voxrec.store.profiles import ProfileFilter, Profiles
from voxrec.web import pagination
from voxrec.web.pagination import BATCH_SIZE, cursor, encode_cursor

NEXT_LINK: Final = re.compile(r'<([^>]*)>; rel="next"')

INVALID: Final = (
    ("limit=0", ["limit"]),
    ("limit=1001", ["limit"]),
    ("limit=-1", ["limit"]),
    ("limit=", ["limit"]),
    ("limit=5x", ["limit"]),
    ("limit=%D9%A5", ["limit"]),  # a five in Arabic-Indic digits
    ("limit=1&limit=2", ["limit"]),
    ("limit=5&cursor=", ["cursor"]),
    ("limit=5&cursor=invalid", ["cursor"]),
    ("limit=5&cursor=Q" + "A" * 31, ["cursor"]),
    ("limit=5&cursor=" + "A" * 33, ["cursor"]),
    ("cursor=" + "A" * 32, ["limit"]),
    ("offset=3", ["offset"]),
    ("colour=red&limit=0", ["colour", "limit"]),
)
INVALID_PROFILES: Final = (("number=%00", ["number"]), ("email=", ["email"]), ("state=failed", ["state"]))
INVALID_RECORDINGS: Final = (
    ("state=lost", ["state"]),
    ("state=", ["state"]),
    ("since=yesterday", ["since"]),
    ("since=2026-01-31T09:30:00", ["since"]),
    ("until=2026-01-31T09:30:00+01:00", ["until"]),  # + is decoded as a space
    ("until=9999-12-31T23:59:59-12:00", ["until"]),
    ("q=customer", ["q"]),
    ("q=[]", ["q"]),
    ("q=%7B%22a%22:%22%5Cu0000%22%7D", ["q"]),
    ("from=%00", ["from"]),
    ("number=%2B49", ["number"]),
)


class CursorTests(SynchronousTestCase):
    @given(st.datetimes(timezones=st.just(UTC)), st.uuids())
    def test_round_trip(self, moment: datetime, key: UUID) -> None:
        text = encode_cursor(Cursor(moment, key))
        self.assertEqual(cursor.parse(text), Cursor(moment, key))
        self.assertEqual(quote(text, safe=""), text)

    def test_offset_of_the_time_zone_does_not_matter(self) -> None:
        moment = datetime.fromisoformat("2026-01-31T10:30:00.000001+01:00")
        self.assertEqual(cursor.parse(encode_cursor(Cursor(moment, uuid4()))).created_at, moment)

    @given(st.text(max_size=40) | st.from_regex(r"[A-Za-z0-9_-]{32}", fullmatch=True))
    def test_arbitrary_text(self, text: str) -> None:
        try:
            position = cursor.parse(text)
        except ValueError as error:
            self.assertIn("is not a cursor", str(error))
        else:
            self.assertEqual(encode_cursor(position), text)


class PageTests(RestTestCase):
    def names(self, response: ClientResponse) -> list[str]:
        self.assertEqual(response.status, 200, response.body)
        return [one["name"] for one in response.json]

    def next_path(self, response: ClientResponse) -> str | None:
        link = NEXT_LINK.fullmatch(response.headers.get("link", ""))
        if link is None:
            return None
        self.assertTrue(link[1].startswith(f"{PUBLIC_URL}/profiles?"))
        return link[1].removeprefix(PUBLIC_URL)

    async def follow_links(self, path: str) -> list[list[str]]:
        """Return the names on each page."""
        pages = []
        next_path: str | None = path
        while next_path is not None:
            response = await self.request("GET", next_path)
            pages.append(self.names(response))
            next_path = self.next_path(response)
        return pages

    async def test_pages(self) -> None:
        names = [one.name for one in await self.add_profiles(7)]
        for limit in (1, 2, 3, 6, 7, 8, 1000):
            with subtest(limit):
                pages = await self.follow_links(f"/profiles?limit={limit}")
                self.assertEqual([name for page in pages for name in page], names)
                self.assertEqual(len(pages), -(-7 // limit))
        self.assertEqual(self.names(await self.request("GET", "/profiles")), names)

    async def test_a_page_is_read_in_batches(self) -> None:
        names = [one.name for one in await self.add_profiles(7)]
        for size in (1, 2, 3, 6, 7, 8):
            self.patch(pagination, "BATCH_SIZE", size)
            for limit in (1, 4, 6, 7, 8):
                with subtest((size, limit)):
                    pages = await self.follow_links(f"/profiles?limit={limit}")
                    self.assertEqual([name for page in pages for name in page], names)
                    self.assertEqual(len(pages), -(-7 // limit))

    async def test_empty_list(self) -> None:
        self.assertEqual((await self.request("GET", "/profiles")).json, [])
        self.assertEqual(await self.follow_links("/profiles?limit=5"), [[]])

    async def test_links_keep_the_filters(self) -> None:
        for n in range(3):
            await self.add_profile(name=str(n), email="a+b@example.org", created_at=CREATED_AT - timedelta(seconds=n))
        await self.add_profile(name="other")
        self.assertEqual(await self.follow_links("/profiles?email=a%2Bb@example.org&limit=2"), [["0", "1"], ["2"]])

    async def test_rows_are_created_and_deleted_between_pages(self) -> None:
        made = await self.add_profiles(6)
        first = await self.request("GET", "/profiles?limit=2")
        await self.add_profile(name="newest", created_at=CREATED_AT + timedelta(seconds=1))
        await self.profiles.delete(made[1].id)  # the row that the cursor points to
        await self.profiles.delete(made[2].id)
        next_path = self.next_path(first)
        assert next_path is not None
        second = await self.request("GET", next_path)
        self.assertEqual(self.names(second), ["number 3", "number 4"])
        last = self.next_path(second)
        assert last is not None
        self.assertEqual(self.names(await self.request("GET", last)), ["number 5"])

    async def test_rows_with_the_same_creation_time(self) -> None:
        for n in range(5):
            await self.add_profile(name=str(n))
        pages = await self.follow_links("/profiles?limit=2")
        self.assertEqual(sorted(name for page in pages for name in page), ["0", "1", "2", "3", "4"])

    async def test_invalid_parameters(self) -> None:
        profile = await self.add_profile()
        of_profile = f"/profiles/{profile.id}/recordings"
        tables: tuple[tuple[str, tuple[tuple[str, list[str]], ...]], ...] = (
            ("/profiles", INVALID + INVALID_PROFILES),
            ("/recordings", INVALID + INVALID_RECORDINGS),
            (of_profile, INVALID + INVALID_RECORDINGS),
        )
        for path, table in tables:
            for query, fields in table:
                with subtest((path, query)):
                    response = await self.request("GET", f"{path}?{query}")
                    self.assertEqual((response.status, response.error_fields), (422, fields), response.body)

    async def test_pages_of_the_recordings_of_a_profile(self) -> None:
        profile = await self.add_profile()
        made = [
            await self.add_recording(profile_id=profile.id, created_at=CREATED_AT - timedelta(seconds=n))
            for n in range(3)
        ]
        await self.add_recording()
        path = f"/profiles/{profile.id}/recordings"
        first = await self.request("GET", f"{path}?limit=2")
        link = NEXT_LINK.fullmatch(first.headers["link"])
        assert link is not None
        self.assertTrue(link[1].startswith(f"{PUBLIC_URL}{path}?limit=2&cursor="))
        second = await self.request("GET", link[1].removeprefix(PUBLIC_URL))
        self.assertEqual([one["id"] for one in second.json], [str(made[2].id)])
        self.assertNotIn("link", second.headers)


class CountedProfiles(Profiles):
    """A repository that counts the batches read, and fails after ``fail_after`` of them."""

    batches_read = 0
    fail_after = 10**9

    async def pages(self, filters: ProfileFilter | None = None, size: int = 500) -> AsyncIterator[list[Profile]]:
        async for page in super().pages(filters, size):
            self.batches_read += 1
            if self.batches_read > self.fail_after:
                raise StoreUnavailable("gone")
            yield page


class CompleteListTests(RestTestCase):
    ROWS: Final = 6000

    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.profiles = self.counted = CountedProfiles(self.pool)
        self.site.resource = self.make_resource()
        await self.add_profile(name="x" * 255, metadata={"fill": "y" * 1500})
        await self.pool.execute(
            """
            INSERT INTO profiles SELECT (jsonb_populate_record(profiles, jsonb_build_object(
                'id', gen_random_uuid(), 'created_at', created_at - n * interval '1 second'))).*
            FROM profiles, generate_series(1, %s) AS n
            """,
            (self.ROWS - 1,),
        )

    async def test_complete_list(self) -> None:
        response = await self.request("GET", "/profiles")
        self.assertEqual(len(response.json), self.ROWS)
        self.assertEqual(len({one["id"] for one in response.json}), self.ROWS)

    async def test_rows_are_read_as_fast_as_the_client_receives(self) -> None:
        connection = await open_connection(self.port)
        connection.transport.write(b"GET /profiles HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer read\r\n\r\n")
        while not connection.received:
            await deferLater(reactor, 0.01)
        connection.transport.pauseProducing()
        batches_read = -1
        while batches_read != self.counted.batches_read:
            batches_read = self.counted.batches_read
            await deferLater(reactor, 0.3)
        self.assertLess(batches_read, self.ROWS // BATCH_SIZE - 4)
        connection.transport.resumeProducing()
        while not connection.received.endswith(b"0\r\n\r\n"):
            await deferLater(reactor, 0.01)
        self.assertEqual(self.counted.batches_read, self.ROWS // BATCH_SIZE)
        connection.transport.loseConnection()
        await connection.closed

    async def test_client_that_disconnects(self) -> None:
        connection = await open_connection(self.port)
        connection.transport.write(b"GET /profiles HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer read\r\n\r\n")
        while not connection.received:
            await deferLater(reactor, 0.01)
        connection.transport.abortConnection()
        await connection.closed
        await until(lambda: self.pool.busy == 0)
        self.assertLess(self.counted.batches_read, self.ROWS // BATCH_SIZE)

    async def test_store_fails_while_the_list_is_sent(self) -> None:
        self.counted.fail_after = 3
        connection = await open_connection(self.port)
        connection.transport.write(b"GET /profiles HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer read\r\n\r\n")
        response = await connection.closed
        self.assertTrue(response.startswith(b"HTTP/1.1 200 "))
        self.assertFalse(response.endswith(b"0\r\n\r\n"))  # so that the client does not take the list for complete
        self.assertEqual(len(self.flushLoggedErrors(StoreUnavailable)), 1)

    async def test_store_fails_before_the_list_is_sent(self) -> None:
        self.counted.fail_after = 0
        response = await self.request("GET", "/profiles")
        self.assertEqual((response.status, response.json["code"]), (503, "store-unavailable"))
