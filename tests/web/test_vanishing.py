"""A client that vanishes in the middle: what it asked for is done, and done wholly."""

import json
from typing import Any
from uuid import uuid4

from twisted.internet.task import deferLater

from tests.api.rest_test_case import RestTestCase
from tests.database import reactor
from tests.web.wire import connected
from voxrec.errors import NotFound
from voxrec.model import JobKind
from voxrec.store.jobs import Jobs


class VanishingTests(RestTestCase):
    async def ask_and_leave(self, request: str, body: bytes, table: str) -> None:
        """Send a request that has to wait for a table, and be gone before it gets it."""
        wire = await connected(self.port)
        head = (
            f"{request} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer admin\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )

        async def while_the_table_is_locked(transaction: Any) -> None:
            await transaction.execute(f"LOCK TABLE {table}")
            wire.transport.write(head.encode() + body)
            while self.pool.busy < 2:
                await deferLater(reactor, 0.01)
            await deferLater(reactor, 0.1)
            wire.transport.abortConnection()
            await wire.ended
            await deferLater(reactor, 0.1)

        await self.pool.transaction(while_the_table_is_locked)
        await deferLater(reactor, 0.3)
        self.assertEqual(self.pool.busy, 0)

    async def test_put(self) -> None:
        chosen = uuid4()
        body = json.dumps({"id": str(chosen), "numbers": ["+4930"]}).encode()
        await self.ask_and_leave("PUT /profiles", body, "profile_numbers")
        self.assertEqual((await self.profiles.get(chosen)).numbers, ("+4930",))

    async def test_put_of_two_steps(self) -> None:
        profile = await self.add_profile()
        body = json.dumps({"profileId": str(profile.id)}).encode()
        await self.ask_and_leave("PUT /recordings", body, "profiles")  # it waits to see that the Profile exists
        self.assertEqual(len(await self.recordings.page()), 1)

    async def test_delete_of_a_row_and_what_it_owes(self) -> None:
        made = await self.add_audio(b"RIFF")
        await self.ask_and_leave(f"DELETE /recordings/{made.id}", b"", "recordings")
        with self.assertRaises(NotFound):
            await self.recordings.get(made.id)
        (job,) = await Jobs(self.pool).page()
        self.assertEqual((job.kind, job.path), (JobKind.ERASE, made.path))
