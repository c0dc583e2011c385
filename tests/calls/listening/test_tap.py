"""The machine of the audio of one call: every input in every state, and the way through them."""

from collections.abc import Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from voxrec.calls.listening.tap import GIVE_UP_AFTER, RETRY_INTERVAL, TapCore, TapInputs, tap_machine
from voxrec.errors import AsteriskUnavailable

LOST = AsteriskUnavailable("no response")


class FakeConnection:
    """A connection whose outcomes the test decides."""

    def __init__(self) -> None:
        self.opening: Deferred[None] = Deferred()
        self.removing: Deferred[None] | None = None

    async def open(self) -> None:
        await self.opening

    async def remove(self) -> None:
        self.removing = Deferred()
        await self.removing

    def removed(self) -> None:
        assert self.removing is not None
        self.removing.callback(None)


class TapTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.connections: list[FakeConnection] = []
        self.outcomes: list[object] = []
        self.inputs: TapInputs = tap_machine(
            TapCore(
                self.clock,
                self.connect,
                started=lambda: self.outcomes.append("started"),
                failed=self.outcomes.append,
                lost=self.lost,
                closed=lambda: self.outcomes.append("closed"),
            )
        )

    def connect(self) -> tuple[FakeConnection, Coroutine[Any, Any, None]]:
        self.connections.append(FakeConnection())
        return self.connections[-1], self.connections[-1].open()

    def lost(self) -> None:
        self.outcomes.append("lost")
        self.inputs.close()  # as the last listener does

    @property
    def last(self) -> FakeConnection:
        return self.connections[-1]

    def listen(self) -> None:
        self.inputs.open()
        self.last.opening.callback(None)

    def interrupt(self) -> None:
        """Lose the audio, and let what was in Asterisk be removed."""
        self.inputs.interrupted()
        self.last.removed()

    def assert_closed(self, *before: object) -> None:
        self.assertEqual(self.outcomes, [*before, "closed"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_from_the_first_listener_to_the_last(self) -> None:
        self.listen()
        self.assertEqual(self.outcomes, ["started"])
        self.inputs.close()
        self.assertEqual(self.outcomes, ["started"])
        self.last.removed()
        self.assert_closed("started")

    def test_the_first_attempt_fails(self) -> None:
        self.inputs.open()
        self.last.opening.errback(LOST)
        self.inputs.close()  # the listener is told, and leaves
        self.last.removed()
        self.assert_closed(LOST)

    def test_the_listener_leaves_before_there_is_audio(self) -> None:
        self.inputs.open()
        self.inputs.close()
        self.last.opening.callback(None)
        self.last.removed()
        self.assert_closed()

    def test_the_audio_is_requested_again(self) -> None:
        self.listen()
        self.inputs.interrupted()
        self.inputs.interrupted()
        self.clock.advance(RETRY_INTERVAL)
        self.assertEqual(len(self.connections), 1, "only when everything is removed are the decoders new")
        self.last.removed()
        self.clock.advance(RETRY_INTERVAL)
        self.last.opening.errback(LOST)  # the far end is not there yet
        self.last.removed()
        self.clock.advance(RETRY_INTERVAL)
        self.last.opening.callback(None)
        self.assertEqual((len(self.connections), self.outcomes), (3, ["started"]))
        self.clock.advance(GIVE_UP_AFTER)
        self.assertEqual(self.outcomes, ["started"])

    def test_no_audio_for_too_long(self) -> None:
        for removed, reopening in ((False, False), (True, False), (True, True)):
            self.setUp()
            self.listen()
            self.inputs.interrupted()
            if removed:
                self.last.removed()
            if reopening:
                self.clock.advance(RETRY_INTERVAL)
                self.clock.advance(GIVE_UP_AFTER)
            elif removed:
                self.inputs.gave_up()
            else:
                self.clock.advance(GIVE_UP_AFTER)
            self.assertIn("lost", self.outcomes)
            if self.outcomes[-1] != "closed":
                self.last.removed()
            self.assert_closed("started", "lost")

    def test_the_last_listener_leaves_during_an_interruption(self) -> None:
        self.listen()
        self.inputs.interrupted()
        self.inputs.close()
        self.last.removed()
        self.assert_closed("started")

    def test_the_last_listener_leaves_while_waiting(self) -> None:
        self.listen()
        self.interrupt()
        self.inputs.close()
        self.assert_closed("started")

    def test_the_last_listener_leaves_while_the_audio_is_requested_again(self) -> None:
        self.listen()
        self.interrupt()
        self.clock.advance(RETRY_INTERVAL)
        self.inputs.close()
        self.last.opening.errback(LOST)
        self.last.removed()
        self.assert_closed("started")

    def test_inputs_after_the_end_change_nothing(self) -> None:
        self.inputs.close()
        for late in (self.inputs.interrupted, self.inputs.opened, self.inputs.retry, self.inputs.gave_up):
            late()
        self.inputs.failed(LOST)
        self.inputs.removed()
        self.inputs.close()
        self.assert_closed()
