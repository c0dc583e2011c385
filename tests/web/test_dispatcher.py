"""Tests of voxrec.web.dispatcher."""

import json
from typing import Any
from uuid import uuid4

from twisted.internet.task import deferLater

from tests.api.rest_test_case import BODY_LIMIT, RestTestCase
from tests.database import reactor, until
from tests.subtest import subtest
from tests.web.raw_connection import open_connection, send_raw
from voxrec.errors import NotFound
from voxrec.model import JobKind
from voxrec.store.jobs import Jobs

JSON_HEADERS = {"Content-Type": "application/json"}


class NegotiationTests(RestTestCase):
    async def test_accept_header(self) -> None:
        for accept, status in (
            ("text/html", 406),
            ("application/json;q=0, */*", 406),
            ("application/xml, image/*", 406),
            ("application/json", 200),
            ("text/html, */*;q=0.1", 200),
            ("application/*", 200),
        ):
            with subtest(accept):
                response = await self.request("GET", "/profiles", headers={"Accept": accept})
                self.assertEqual(response.status, status)
        refused = await self.request("PUT", "/profiles", json={}, headers={"Accept": "text/html"})
        self.assertEqual((refused.status, refused.json["code"]), (406, "not-acceptable"))
        self.assertEqual(await self.profiles.all(), [])


class BodyLimitTests(RestTestCase):
    async def test_largest_body(self) -> None:
        largest = b"{}" + b" " * (BODY_LIMIT - 2)
        response = await self.request("PUT", "/profiles", data=largest, headers=JSON_HEADERS)
        self.assertEqual(response.status, 201)

    async def test_endless_chunked_body(self) -> None:
        connection = await open_connection(self.port)
        connection.transport.write(
            b"PUT /profiles HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer admin\r\nConnection: close\r\n"
            b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        for _ in range(50):
            connection.transport.write(b"2710\r\n" + b"x" * 10_000 + b"\r\n")
        connection.transport.write(b"0\r\n\r\n")
        response = await connection.closed
        self.assertTrue(response.startswith(b"HTTP/1.1 413 "), response)

    async def test_content_length_above_the_limit(self) -> None:
        head = (
            b"PUT /profiles HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer admin\r\nConnection: close\r\n"
            b"Content-Type: application/json\r\nContent-Length: 500000\r\n\r\n"
        )
        response = await send_raw(self.port, head + b"x" * 500_000)
        self.assertTrue(response.startswith(b"HTTP/1.1 413 "), response)


class DisconnectedClientTests(RestTestCase):
    """A handler is not cancelled when its client disconnects."""

    async def send_and_disconnect(self, request: str, body: bytes, table: str) -> None:
        """Send a request that waits for a lock of ``table``, and disconnect while it waits."""
        connection = await open_connection(self.port)
        head = (
            f"{request} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer admin\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )

        async def lock_and_disconnect(transaction: Any) -> None:
            await transaction.execute(f"LOCK TABLE {table}")
            connection.transport.write(head.encode() + body)
            while self.pool.busy < 2:
                await deferLater(reactor, 0.01)
            await deferLater(reactor, 0.1)
            connection.transport.abortConnection()
            await connection.closed
            await deferLater(reactor, 0.1)

        await self.pool.transaction(lock_and_disconnect)
        await until(lambda: self.pool.busy == 0)

    async def test_creation(self) -> None:
        profile_id = uuid4()
        body = json.dumps({"id": str(profile_id), "numbers": ["+4930"]}).encode()
        await self.send_and_disconnect("PUT /profiles", body, "profile_numbers")
        self.assertEqual((await self.profiles.get(profile_id)).numbers, ("+4930",))

    async def test_creation_that_waits_in_its_validation(self) -> None:
        profile = await self.add_profile()
        body = json.dumps({"profileId": str(profile.id)}).encode()
        await self.send_and_disconnect("PUT /recordings", body, "profiles")
        self.assertEqual(len(await self.recordings.page()), 1)

    async def test_deletion_with_a_job(self) -> None:
        recording = await self.add_audio(b"RIFF")
        await self.send_and_disconnect(f"DELETE /recordings/{recording.id}", b"", "recordings")
        with self.assertRaises(NotFound):
            await self.recordings.get(recording.id)
        (job,) = await Jobs(self.pool).page()
        self.assertEqual((job.kind, job.path), (JobKind.ERASE, recording.path))
