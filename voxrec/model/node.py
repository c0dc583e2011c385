"""Nodes: the installations that share one PostgreSQL."""

import enum
from datetime import datetime
from typing import Annotated

from msgspec import Struct

from voxrec.model.fields import doc


class NodeState(enum.StrEnum):
    """State of a node.

    - ``running``: accepts calls
    - ``draining``: refuses new calls; live ones continue
    - ``stopped``: was stopped, and will finish its work when it starts again
    - ``unreachable``: has not reported for several seconds: it, its machine or its connection to PostgreSQL has failed
    - ``lost``: an operator declared that its disk is lost
    """

    RUNNING = "running"
    DRAINING = "draining"
    STOPPED = "stopped"
    UNREACHABLE = "unreachable"
    LOST = "lost"


class NodeStatus(Struct, frozen=True, kw_only=True, rename="camel"):
    """What a node reports about itself."""

    version: Annotated[str | None, doc("Version of voxrec.")] = None
    asterisk_version: Annotated[str | None, doc("Version of Asterisk. Null while it is not connected.")] = None
    live_calls: Annotated[int, doc("Number of live calls.")] = 0
    spool_free: Annotated[int | None, doc("Free space of the directory to which Asterisk records, in bytes.")] = None
    journal_pending: Annotated[int, doc("Changes in the journal that PostgreSQL does not have yet.")] = 0
    problem: Annotated[str | None, doc("Why the node does not do the work that needs its disk. Null: it does.")] = None


class Node(NodeStatus, frozen=True, kw_only=True, rename="camel"):
    """A node, as it last reported."""

    name: Annotated[str, doc("Name of the node.")]
    state: NodeState
    draining: Annotated[bool, doc("Whether the node is to refuse new calls.")] = False
    last_heartbeat: Annotated[datetime, doc("Time of the last report, which a node makes every 2 seconds.")]
    pending_jobs: Annotated[int, doc("Jobs that only this node can do and that are not done.")] = 0

    @property
    def alive(self) -> bool:
        """Whether the node reports."""
        return self.state in (NodeState.RUNNING, NodeState.DRAINING)
