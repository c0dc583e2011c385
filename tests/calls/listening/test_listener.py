"""One listener: the stream, its bounded buffer, and its end."""

from typing import Any
from uuid import UUID

import numpy as np
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.calls.fake_asterisk import NOW
from voxrec.calls.listening.frames import Frame
from voxrec.calls.listening.listener import BUFFER_FRAMES, CLIENT_LEFT, Listener
from voxrec.model import Listening, ListenSide


class ListenerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW.timestamp())
        self.ended: list[Listener] = []
        listening = Listening(id=UUID(int=1), who="anna", side=ListenSide.CALLER, started_at=NOW)
        self.listener = Listener(self.clock, UUID(int=2), UUID(int=3), listening, self.ended.append)
        self.listener.rate = 8000

    def add(self, value: int) -> None:
        self.listener.add(Frame(np.full(160, value, dtype=np.int16), np.zeros(160, dtype=np.int16)))

    def read(self) -> Deferred[Any]:
        return Deferred.fromCoroutine(self.listener.__anext__())

    def heard(self, part: bytes) -> list[int]:
        """Return the first sample of each frame."""
        first: list[int] = np.frombuffer(part, "<i2")[::160].tolist()
        return first

    def test_header_then_audio_in_parts_of_60_ms(self) -> None:
        header = self.successResultOf(self.read())
        self.assertEqual((header[:4], header[22], len(header)), (b"RIFF", 1, 44))
        part = self.read()
        for value in (1, 2):
            self.add(value)
            self.assertNoResult(part)
        self.add(3)
        self.assertEqual(self.heard(self.successResultOf(part)), [1, 2, 3])

    def test_a_slow_client_misses_the_oldest(self) -> None:
        self.successResultOf(self.read())
        for value in range(BUFFER_FRAMES + 20):
            self.add(value)
        self.assertEqual(self.listener.dropped, 20)
        self.assertEqual(self.heard(self.successResultOf(self.read())), [*range(20, BUFFER_FRAMES + 20)])

    def test_the_end(self) -> None:
        self.successResultOf(self.read())
        self.add(1)
        part = self.read()
        self.clock.advance(12.5)
        self.listener.end("the call has ended")
        self.assertEqual(self.heard(self.successResultOf(part)), [1])
        self.failureResultOf(self.read(), StopAsyncIteration)
        self.clock.advance(5)
        self.listener.end("again")
        self.add(2)
        self.failureResultOf(self.read(), StopAsyncIteration)
        self.assertEqual((self.ended, self.listener.reason), ([self.listener], "the call has ended"))
        report = self.listener.report()
        self.assertEqual((report.seconds, report.reason, report.call_id), (12.5, "the call has ended", UUID(int=2)))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_client_that_disconnects(self) -> None:
        self.successResultOf(self.read())
        part = self.read()
        self.listener.close()
        self.failureResultOf(part, StopAsyncIteration)
        self.successResultOf(Deferred.fromCoroutine(self.listener.aclose()))
        self.assertEqual((self.ended, self.listener.reason), ([self.listener], CLIENT_LEFT))
