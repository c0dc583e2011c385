"""What REST reads and changes of the live calls of all nodes."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol, TypeVar
from uuid import UUID

import msgspec
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from voxrec.errors import NodeUnreachable, NotFound, OtherNode, StoreUnavailable
from voxrec.model import Call, PauseBehavior, Profile, Recording
from voxrec.nodes.membership import Membership
from voxrec.nodes.messages import NodeMessages, RequestHandler
from voxrec.store.nodes import Nodes, Owner

T = TypeVar("T")
_DIRECTORY_DELAY: Final = 0.15  # seconds within which a new call of another node is in the directory


class LocalCallControl(Protocol):
    """The calls of this node (`voxrec.calls.call_control.CallControl`)."""

    def list_calls(self) -> list[Call]:
        """Return the live calls, newest first."""

    def get_call(self, call_id: UUID) -> Call:
        """Return one live call. Raises NotFound."""

    def release(self, call_id: UUID) -> None:
        """End a live call. Raises NotFound."""

    async def request(self, profile: Profile, uri: str, commit: Callable[[Call], Awaitable[None]]) -> Call:
        """Call a person, to be connected with the far end. Raises InvalidInput, Conflict and Unavailable."""

    def record(self, call_id: UUID) -> Call:
        """Record a live call from now on, and return it. Raises NotFound and Conflict."""

    def is_recording(self, recording_id: UUID) -> bool:
        """Return whether a live call has the Recording."""

    async def pause(self, recording_id: UUID, behavior: PauseBehavior, seconds: float | None) -> Recording:
        """Pause a live Recording, and return it. Raises Conflict."""

    async def resume(self, recording_id: UUID) -> Recording:
        """Resume a live Recording, and return it. Raises Conflict."""


class Recordings(Protocol):
    """The repository of Recordings."""

    async def get(self, recording_id: UUID) -> Recording:
        """Return one Recording. Raises NotFound."""

    async def record(self, *snapshots: Recording) -> object:
        """Store snapshots of calls."""


class NodesCallControl:
    """The calls of all nodes: those of this one directly, and those of others by requests to them.

    While PostgreSQL is unavailable, and on a single node, only the calls of this node exist.
    """

    def __init__(
        self,
        clock: IReactorTime,
        local: LocalCallControl,
        membership: Membership,
        nodes: Nodes,
        recordings: Recordings,
    ) -> None:
        self._clock = clock
        self._local = local
        self._membership = membership
        self._nodes = nodes
        self._recordings = recordings
        self.messages = NodeMessages(clock, nodes, membership.node, self._handlers())

    async def list_calls(self) -> list[Call]:
        """Return the live calls of all nodes."""
        calls = self._local.list_calls()
        if not self._membership.peers:
            return calls
        try:
            others = await self._nodes.calls_of_others(self._membership.node)
        except StoreUnavailable:
            return calls
        own = {call.id for call in calls}
        return [*calls, *(call for call in others if call.id not in own)]

    async def get_call(self, call_id: UUID) -> Call:
        """Return one live call. Raises NotFound; the state of a call of an unreachable node is ``lost``."""
        try:
            return self._local.get_call(call_id)
        except NotFound:
            owner = await self._owner(call_id)
            if owner is None:
                raise
        if not owner.alive:
            return await self._lost_call(call_id)
        return msgspec.convert(await self.messages.request(owner.node, "get", id=call_id), Call)

    async def release(self, call_id: UUID) -> None:
        """End a live call. Raises NotFound, and NodeUnreachable."""
        await self._on_node_of_call(call_id, "release", lambda: self._local.release(call_id))

    async def request(self, profile: Profile, uri: str, commit: Callable[[Call], Awaitable[None]]) -> Call:
        """Call a person through this node. Raises InvalidInput, Conflict and Unavailable."""
        return await self._local.request(profile, uri, commit)

    async def record(self, call_id: UUID) -> Call:
        """Record a live call, and return it. Raises NotFound, Conflict, and NodeUnreachable."""
        recorded = await self._on_node_of_call(call_id, "record", lambda: self._local.record(call_id))
        return msgspec.convert(recorded, Call)

    async def on_this_node(self, call_id: UUID, action: Callable[[], Awaitable[T]]) -> T:
        """Do what only the node of a call can do. Raises NotFound, and OtherNode, which names the node."""
        try:
            return await action()
        except NotFound:
            owner = await self._owner(call_id)
            if owner is None:
                raise
        raise OtherNode(f"Call {call_id} is a call of node {owner.node}; send this request to that node.")

    async def pause(self, recording_id: UUID, behavior: PauseBehavior, seconds: float | None) -> Recording:
        """Pause a live Recording, and return it. Raises Conflict, and NodeUnreachable."""
        return await self._on_node_of_recording(
            recording_id,
            lambda: self._local.pause(recording_id, behavior, seconds),
            "pause",
            behavior=behavior,
            seconds=seconds,
        )

    async def resume(self, recording_id: UUID) -> Recording:
        """Resume a live Recording, and return it. Raises Conflict, and NodeUnreachable."""
        return await self._on_node_of_recording(recording_id, lambda: self._local.resume(recording_id), "resume")

    async def set_draining(self, name: str, draining: bool) -> None:
        """Let a node refuse new calls, or accept them again; a running one does when this returns. Raises NotFound."""
        await self._nodes.set_draining(name, draining)
        if name == self._membership.node:
            await self._membership.refreshed()
        elif any(peer.name == name and peer.alive for peer in self._membership.peers):
            await self.messages.request(name, "refresh")

    async def _owner(self, call_id: UUID) -> Owner | None:
        if not self._membership.peers:
            return None
        owner = await self._nodes.node_of_call(call_id)
        if owner is None:  # it may be so new that its node has not stored it yet
            await deferLater(self._clock, _DIRECTORY_DELAY)
            owner = await self._nodes.node_of_call(call_id)
        return owner if owner is not None and owner.node != self._membership.node else None

    async def _lost_call(self, call_id: UUID) -> Call:
        for call in await self._nodes.calls_of_others(self._membership.node):
            if call.id == call_id:
                return call
        raise NotFound(f"There is no live call {call_id}.")

    async def _on_node_of_call(self, call_id: UUID, method: str, locally: Callable[[], Any]) -> Any:
        try:
            return locally()
        except NotFound:
            owner = await self._owner(call_id)
            if owner is None:
                raise
        return await self._request(owner, method, id=call_id)

    async def _on_node_of_recording(
        self, recording_id: UUID, locally: Callable[[], Awaitable[Recording]], method: str, **params: object
    ) -> Recording:
        if self._local.is_recording(recording_id) or not self._membership.peers:
            return await locally()
        owner = await self._nodes.node_of_recording(recording_id)
        if owner is None or owner.node == self._membership.node:
            return await locally()  # raises Conflict
        await self._request(owner, method, id=recording_id, **params)
        return await self._recordings.get(recording_id)

    async def _request(self, owner: Owner, method: str, **params: object) -> Any:
        if not owner.alive:
            raise NodeUnreachable(f"Node {owner.node}, which has the call, does not respond.")
        return await self.messages.request(owner.node, method, **params)

    # Requests of other nodes.

    def _handlers(self) -> Mapping[str, RequestHandler]:
        async def get(params: Mapping[str, Any]) -> Call:
            return self._local.get_call(UUID(params["id"]))

        async def release(params: Mapping[str, Any]) -> None:
            self._local.release(UUID(params["id"]))

        async def record(params: Mapping[str, Any]) -> Call:
            return self._local.record(UUID(params["id"]))

        async def pause(params: Mapping[str, Any]) -> None:
            behavior = PauseBehavior(params["behavior"])
            await self._recordings.record(await self._local.pause(UUID(params["id"]), behavior, params["seconds"]))

        async def resume(params: Mapping[str, Any]) -> None:
            await self._recordings.record(await self._local.resume(UUID(params["id"])))

        async def refresh(_params: Mapping[str, Any]) -> None:
            await self._membership.refreshed()

        return {
            "get": get,
            "release": release,
            "record": record,
            "pause": pause,
            "resume": resume,
            "refresh": refresh,
        }
