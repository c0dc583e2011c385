"""Runs the commands of a call, and returns their outcomes to its state machines.

A machine never waits for Asterisk: it starts a step here, and the outcome arrives later as another input. A step whose
outcome is known at once does the same, because Automat processes an input that arrives during a transition after it.
"""

from collections.abc import Callable
from typing import Any, TypeVar
from uuid import UUID

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from voxrec.ami.protocol import AmiResponseError
from voxrec.ari.transport import AriResponseError
from voxrec.deferreds import Operation
from voxrec.errors import VoxrecError

T = TypeVar("T")


def is_channel_gone(error: BaseException | None) -> bool:
    """Return whether Asterisk refused a command because a channel has ended: no fault, but a party that hangs up."""
    return isinstance(error, AriResponseError | AmiResponseError) and error.channel_gone


def _ignore(_result: object) -> None:
    pass


class Steps:
    """The steps of one call."""

    _log = Logger()

    def __init__(self, call_id: UUID) -> None:
        self._call_id = call_id

    def run(
        self,
        step: Operation[T],
        *,
        succeeded: Callable[[T], object] = _ignore,
        failed: Callable[[], object],
    ) -> None:
        """Run a step that the call requires; the outcome is an input."""

        def report(failure: Failure) -> None:
            if is_channel_gone(failure.value):
                self._log.debug("call {call}: a party has hung up: {error}", call=self._call_id, error=failure.value)
            elif failure.check(VoxrecError):
                self._log.error("call {call}: {error}", call=self._call_id, error=failure.value)
            else:
                self._log.failure("call {call}: a step failed", failure, call=self._call_id)
            failed()

        self._start(step, succeeded, report)

    def attempt(self, command: Operation[T], *, succeeded: Callable[[T], object] = _ignore) -> None:
        """Run a command whose failure does not change the call: reconciliation removes what it should have ended."""

        def report(failure: Failure) -> None:
            if is_channel_gone(failure.value):
                self._log.debug("call {call}: a party has hung up: {error}", call=self._call_id, error=failure.value)
            else:
                self._log.warn("call {call}: {error}", call=self._call_id, error=failure.value)

        self._start(command, succeeded, report)

    def _start(
        self, step: Operation[Any], succeeded: Callable[[Any], object], report: Callable[[Failure], None]
    ) -> None:
        running: Deferred[Any] = ensureDeferred(step)
        running.addCallbacks(succeeded, report)
        running.addErrback(self._input_failed)

    def _input_failed(self, failure: Failure) -> None:
        self._log.failure("call {call}: the outcome of a step could not be processed", failure, call=self._call_id)
