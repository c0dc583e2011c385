"""Clients that disconnect during a response: nothing is logged as an error, and what the response used is released."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import ILogObserver, LogLevel, globalLogPublisher
from zope.interface import implementer

from tests.api.audio.audio_test_case import two_tones
from tests.api.audio.test_audio_downloads import count_open_descriptors
from tests.api.rest_test_case import RestTestCase
from tests.database import reactor, until

RECEIVED: Final = (0, 1, 5_000, 1_000_000)  # bytes after which the client disconnects
CONTENT: Final = bytes(range(256)) * 50_000  # more than the buffers of both sockets hold


@contextmanager
def logged_problems() -> Iterator[list[str]]:
    """Context in which log messages of level warning or above are collected, with their text."""
    problems: list[str] = []

    @implementer(ILogObserver)
    def observe(event: dict[str, Any]) -> None:
        if event["log_level"] >= LogLevel.warn:
            failure = event.get("log_failure")
            problems.append(f"{event['log_level'].name} {event.get('log_format')} {failure and failure.value!r}")

    globalLogPublisher.addObserver(observe)
    try:
        yield problems
    finally:
        globalLogPublisher.removeObserver(observe)


def receive_and_disconnect(port: int, path: str, size: int, *, reset: bool) -> None:
    """Request ``path``, receive up to ``size`` bytes, and close the connection, with a TCP reset if ``reset``."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(
            f"GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer admin\r\nConnection: close\r\n\r\n".encode()
        )
        while size > 0 and (data := connection.recv(min(size, 65536))):
            size -= len(data)
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


class DisconnectTests(RestTestCase):
    timeout = 120

    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        for _ in range(40):
            await self.add_profile(metadata={"a": "x" * 8000})
        stored = await self.add_audio(CONTENT)
        convertible = await self.add_audio(two_tones(seconds=20.0), channels=2, duration=20.0)
        self.paths = (
            f"/recordings/{stored.id}/audio",
            f"/recordings/{convertible.id}/audio?format=flac",
            f"/recordings/{convertible.id}/audio?format=wav16&channel=mix",
            f"/recordings/{convertible.id}/peaks",
            "/profiles",
            "/profiles?limit=40",
        )

    async def test_at_any_point(self) -> None:
        before = count_open_descriptors()
        with logged_problems() as problems:
            for path in self.paths:
                for size in RECEIVED:
                    for reset in (False, True):
                        await deferToThread(receive_and_disconnect, self.port, path, size, reset=reset)
            await until(lambda: self.site.connection_count == 0)
            await until(lambda: count_open_descriptors() < before + 10)
        self.assertEqual(problems, [])

    async def test_subscribers_of_events(self) -> None:
        with logged_problems() as problems:
            for size in (0, 1, 100):
                for reset in (False, True):
                    await deferToThread(receive_and_disconnect, self.port, "/events", size, reset=reset)
            await until(lambda: self.site.connection_count == 0)
            await until(lambda: self.broadcaster.subscriber_count == 0)
            await deferLater(reactor, 0)
        self.assertEqual(problems, [])
