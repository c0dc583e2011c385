"""The membership of this node: its heartbeat, and what it knows of the other nodes."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final
from uuid import UUID, uuid4

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from voxrec.clock import utc_now
from voxrec.deferreds import SingleFlight
from voxrec.errors import VoxrecError
from voxrec.model import Node, NodeState, NodeStatus
from voxrec.store.nodes import HEARTBEAT_TIMEOUT, Nodes

HEARTBEAT_INTERVAL: Final = 2.0
"""Seconds between two heartbeats."""


async def _no_former_instance(_instance: UUID) -> UUID | None:
    return None


async def _do_nothing(_instance: UUID) -> None:
    pass


class Membership(Service):
    """Reports every 2 s under the name of this node.

    ``status`` returns what is reported. ``read_spool_id`` returns the id of the recording directory, or raises OSError.
    ``on_active`` is called with whether this process may do what needs the disk of the node: not while another process
    has its name, nor if the directory is another one than that of the node, since files that are missing there would
    be taken for calls without audio. ``on_draining`` is called with whether new calls are to be refused. ``is_standby``
    returns whether this process waits for another one of the same node. ``replace_former_instance`` returns the process
    whose name this one takes over without waiting (`voxrec.nodes.former_instance`), or raises OSError; once this
    process has the name, ``former_ended`` is called with it.
    """

    name = "membership"
    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        nodes: Nodes,
        node: str,
        status: Callable[[], NodeStatus],
        read_spool_id: Callable[[], Awaitable[UUID]],
        *,
        on_active: Callable[[bool], object],
        on_draining: Callable[[bool], object],
        is_standby: Callable[[], bool] = lambda: False,
        replace_former_instance: Callable[[UUID], Awaitable[UUID | None]] = _no_former_instance,
        former_ended: Callable[[UUID], Awaitable[object]] = _do_nothing,
    ) -> None:
        self._nodes = nodes
        self.node = node
        self._status = status
        self._read_spool_id = read_spool_id
        self._on_active = on_active
        self._on_draining = on_draining
        self._is_standby = is_standby
        self._replace_former_instance = replace_former_instance
        self._former_ended = former_ended
        self._former: UUID | None = None
        self._former_known = False
        self.instance: Final = uuid4()
        """Identifies this process."""
        self._clock = clock
        self._spool_id: UUID | None = None
        self._spool_since = utc_now(clock)
        self._draining = False
        self._timer = LoopingCall(self.refresh)
        self._timer.clock = clock
        self._reporter = SingleFlight(self._report, self._report_failed)
        self._all: Mapping[str, Node] = {}
        self._former_name_logged = False
        self._refusals = 0  # consecutive heartbeats that were refused because another process has the name
        self.registered = False
        """Whether this process has the name of the node."""
        self.active = False
        """Whether this process may do what needs the disk of the node."""
        self.problem: str | None = "has not reported yet"
        """Why it may not."""

    @property
    def peers(self) -> list[Node]:
        """The other nodes, as of the last heartbeat."""
        return [node for name, node in self._all.items() if name != self.node]

    @property
    def alone(self) -> bool:
        """Whether it is known that there are no other nodes; before the first heartbeat it is not."""
        return bool(self._all) and not self.peers

    @property
    def unreachable(self) -> list[Node]:
        """The other nodes that have failed."""
        return [node for node in self.peers if node.state is NodeState.UNREACHABLE]

    def startService(self) -> None:
        """Report now, and every 2 s."""
        super().startService()
        self._timer.start(HEARTBEAT_INTERVAL)

    def stopService(self) -> Deferred[None]:
        """Report that this node has stopped."""
        super().stopService()
        if self._timer.running:
            self._timer.stop()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        await self._reporter.wait()
        try:
            await self._nodes.stop(self.node, self.instance)
        except VoxrecError as error:
            self._log.debug("the stop of this node could not be stored: {error}", error=error)

    def refresh(self) -> None:
        """Report, and read the rows of all nodes."""
        self._reporter.request()

    async def refreshed(self) -> None:
        """Refresh, and wait until that is done."""
        self.refresh()
        await self._reporter.wait()

    async def _report(self) -> None:
        try:
            if self._spool_id is None or self.problem is not None:  # it may have been mounted
                spool_id = await self._read_spool_id()
                if spool_id != self._spool_id:
                    self._spool_since = utc_now(self._clock)
                self._spool_id = spool_id
        except OSError as error:
            self._spool_id = None
            self._log.debug("the recording directory has no id yet: {error}", error=error)
        try:
            await self._find_former_instance()
            registration = await self._nodes.heartbeat(
                self.node, self.instance, self._spool_id, self._status(), self._former, self._spool_since
            )
            if registration is not None and self._former is not None:
                await self._former_ended(self._former)
                self._former = None  # the row has this process now
            self._all = {node.name: node for node in await self._nodes.list_all()}
            await self._check_former_name()
        except VoxrecError:
            return  # the pool logs it; without PostgreSQL there are no jobs
        self.registered = registration is not None
        if registration is None:
            self._name_in_use()
            return
        self._refusals = 0
        if self._spool_id is None:
            self._set_problem("the recording directory is not available")
        elif registration.spool_id != self._spool_id:
            self._set_problem(
                f"the recording directory is not that of node {self.node}: mount it, or run voxrec nodes adopt "
                f"{self.node} with the former directory, or voxrec nodes mark-lost {self.node} if it is lost"
            )
        else:
            self._set_problem(None)
        if registration.draining != self._draining:
            self._draining = registration.draining
            self._log.info(
                "node {node} {what}",
                node=self.node,
                what="refuses new calls: it is draining" if self._draining else "accepts calls again",
            )
            self._on_draining(self._draining)

    async def _find_former_instance(self) -> None:
        if not self._former_known:
            self._former_known = True
            try:
                self._former = await self._replace_former_instance(self.instance)
            except OSError as error:
                self._log.debug("the former process of this node is not known: {error}", error=error)

    async def _check_former_name(self) -> None:
        if self._former_name_logged or self._spool_id is None:
            return
        self._former_name_logged = True
        if (former := await self._nodes.other_name(self._spool_id, self.node)) is not None:
            self._log.error(
                "this node was {former} before, and work for {former} waits: set node.name to {former}, or run voxrec "
                "nodes rename {former} {node}",
                former=former,
                node=self.node,
            )

    def _name_in_use(self) -> None:
        if self._is_standby():  # the active process of the same node has the name, as it should
            self._refusals = 0
            return
        self._refusals += 1
        if self._refusals * HEARTBEAT_INTERVAL > HEARTBEAT_TIMEOUT + HEARTBEAT_INTERVAL:
            self._set_problem(
                f"another voxrec uses the name {self.node}: set node.name to another name on one of the two"
            )
        elif self._refusals == 1:  # after a crash, the former process has the name for some seconds
            self._log.info("node {node}: waiting until the former process does not report any more", node=self.node)

    def _set_problem(self, problem: str | None) -> None:
        if problem is not None and problem != self.problem:
            self._log.error("node {node} does not finish recordings: {problem}", node=self.node, problem=problem)
        elif problem is None and not self.active:
            self._log.info("node {node} is active", node=self.node)
        if problem != self.problem:
            self.problem = problem
            self.refresh()  # the other nodes are to know it now
        if self.active != (problem is None):
            self.active = problem is None
            self._on_active(self.active)

    def _report_failed(self, failure: Failure) -> None:
        self._log.failure("the heartbeat of node {node} failed; retrying in 2 s", failure, node=self.node)
