"""Keeps the live calls of this node in PostgreSQL, where the other nodes find them."""

from collections.abc import Callable, Iterable
from typing import Final
from uuid import UUID

import msgspec
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from voxrec.deferreds import SingleFlight
from voxrec.errors import VoxrecError
from voxrec.model import Call, EventType
from voxrec.store.nodes import Nodes

_GATHER_DELAY: Final = 0.05  # seconds in which changes are collected for one statement
_COMPARE_INTERVAL: Final = 1.0  # seconds; the changes of states without an event are found by comparison


class CallDirectory(Service):
    """Stores the calls that ``live_calls`` returns: soon after an event, and otherwise within a second."""

    name = "call directory"
    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        nodes: Nodes,
        node: str,
        live_calls: Callable[[], Iterable[Call]],
    ) -> None:
        self._clock = clock
        self._nodes = nodes
        self._node = node
        self._live_calls = live_calls
        self.is_needed: Callable[[], bool] = lambda: False
        """Whether there are other nodes, and the row of this one exists, to which its calls refer."""
        self.reservations: set[UUID] = set()
        """Those of `voxrec.nodes.call_limits` whose calls are live, or have ended, which is not stored yet."""
        self._stored: dict[UUID, Call] = {}
        self._being_stored: dict[UUID, Call] = {}
        self._complete = False  # whether PostgreSQL has no other calls of this node than those in _stored
        self._writer = SingleFlight(self._write, self._write_failed)
        self._timer = LoopingCall(self._request)
        self._timer.clock = clock

    def startService(self) -> None:
        """Store the calls from now on."""
        super().startService()
        self._timer.start(_COMPARE_INTERVAL, now=False)

    def stopService(self) -> Deferred[None]:
        """Stop; the calls remain, and the next process compares them."""
        super().stopService()
        if self._timer.running:
            self._timer.stop()
        self._writer.cancel()
        return Deferred.fromCoroutine(self._writer.wait())

    def resynchronize(self) -> None:
        """Store all calls again: PostgreSQL may have lost them, as after the promotion of a standby."""
        self._stored.clear()
        self._complete = False

    def known_calls(self, profile_id: UUID) -> set[UUID] | None:
        """Return the calls of a Profile that are live, or of which there may be a row; None if that is not known."""
        if not self._complete:
            return None
        calls = (*self._live_calls(), *self._stored.values(), *self._being_stored.values())
        return {call.id for call in calls if call.profile_id == profile_id}

    def call_changed(self, _event: EventType, _call: Call) -> None:
        """Store the calls soon."""
        self._request()

    def call_refused(self, cause: int) -> None:
        """Ignore a refused call."""

    def _request(self) -> None:
        if self.running and not self._writer.running and self.is_needed():
            self._writer.request()

    async def _write(self) -> None:
        await deferLater(self._clock, _GATHER_DELAY)
        live = {call.id: msgspec.structs.replace(call, age=0.0) for call in self._live_calls()}
        changed = [call for call in live.values() if self._stored.get(call.id) != call]
        gone = self._stored.keys() - live.keys()
        settled = frozenset(self.reservations)
        self._being_stored = live
        try:
            if not self._complete:
                await self._nodes.delete_other_calls(self._node, live.keys(), settled)
                self._complete = True
            if changed or gone or settled:
                await self._nodes.store_calls(self._node, changed, gone, settled)
                self.reservations -= settled
        except VoxrecError:
            self.resynchronize()  # the pool logs it
        else:
            self._stored = live
        finally:
            self._being_stored = {}

    def _write_failed(self, failure: Failure) -> None:
        self.resynchronize()
        self._log.failure("the live calls could not be stored for the other nodes; retrying", failure)
