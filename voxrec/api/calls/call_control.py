"""What the REST API does with live calls; see `voxrec.nodes.call_control`."""

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar
from uuid import UUID

from voxrec.model import Call, PauseBehavior, Profile, Recording

T = TypeVar("T")


class CallControl(Protocol):
    """Access to the live calls of all nodes. Methods raise Unavailable if the node of a call does not respond."""

    async def list_calls(self) -> list[Call]:
        """Return the live calls."""

    async def get_call(self, call_id: UUID, /) -> Call:
        """Return one live call. Raises NotFound."""

    async def request(self, profile: Profile, uri: str, commit: Callable[[Call], Awaitable[None]], /) -> Call:
        """Call a person at a SIP URI, to be connected with the far end of a Profile, and return the call.

        ``commit`` is called before the person is called, who is not called if it raises. Raises InvalidInput, Conflict
        and Unavailable.
        """

    async def release(self, call_id: UUID, /) -> None:
        """Hang up a live call. Raises NotFound."""

    async def record(self, call_id: UUID, /) -> Call:
        """Record a live call from now on, and return it. Raises NotFound, and Conflict if it cannot be recorded."""

    async def on_this_node(self, call_id: UUID, action: Callable[[], Awaitable[T]], /) -> T:
        """Do what only the node of a call can do. Raises NotFound and OtherNode."""

    async def pause(self, recording_id: UUID, behavior: PauseBehavior, seconds: float | None, /) -> Recording:
        """Pause a live Recording until it is resumed, or for ``seconds``, and return it. Raises Conflict."""

    async def resume(self, recording_id: UUID, /) -> Recording:
        """Resume a live Recording, and return it. Raises Conflict."""
