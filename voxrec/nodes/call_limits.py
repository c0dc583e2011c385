"""The maximum number of calls of a Profile over all nodes (``maxCalls``)."""

from collections.abc import Callable
from typing import Final
from uuid import UUID, uuid4

from twisted.internet.defer import Deferred, TimeoutError  # noqa: A004
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from voxrec.errors import VoxrecError
from voxrec.model import Profile
from voxrec.nodes.call_directory import CallDirectory
from voxrec.nodes.membership import Membership
from voxrec.store.nodes import Nodes

_TIMEOUT: Final = 1.0  # seconds for which a caller waits for PostgreSQL


class CallLimits:
    """Reserves each call of a Profile that has a maximum, in one statement, before it is accepted.

    While PostgreSQL is unavailable, and on a single node, nothing is reserved: each node counts its own calls.
    ``count_own(profile_id)`` returns the number of live calls of a Profile on this node.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        nodes: Nodes,
        membership: Membership,
        directory: CallDirectory,
        count_own: Callable[[UUID], int],
    ) -> None:
        self._clock = clock
        self._nodes = nodes
        self._membership = membership
        self._directory = directory
        self._count_own = count_own
        self._uncounted: set[UUID] = set()  # Profiles whose calls on other nodes were not counted, as is logged

    async def reserve(self, profile: Profile) -> bool | None:
        """Return whether a call may begin now, or None if nothing was reserved. Does not raise.

        The caller must begin the call, or give it up, at once when this returns: the reservation ends as soon as the
        live calls of this node are stored.
        """
        if not self._membership.peers:
            return None
        reservation = uuid4()
        request = Deferred.fromCoroutine(
            self._nodes.reserve_call(
                reservation,
                self._membership.node,
                profile,
                self._count_own(profile.id),
                self._directory.known_calls(profile.id),
                frozenset(self._directory.reservations),
            )
        )
        try:
            granted = await request.addTimeout(_TIMEOUT, self._clock)
        except (VoxrecError, TimeoutError) as error:
            self._directory.reservations.add(reservation)  # it may have been committed
            self._report(profile.id, error)
            return None
        self._uncounted.discard(profile.id)
        if granted:
            self._directory.reservations.add(reservation)
        return granted

    def _report(self, profile_id: UUID, error: Exception) -> None:
        """Log that a Profile's calls on other nodes are not counted: once, until they are counted again."""
        if profile_id in self._uncounted:
            return
        self._uncounted.add(profile_id)
        self._log.warn(
            "maxCalls of profile {profile} does not count calls of other nodes: {error}",
            profile=profile_id,
            error=error if isinstance(error, VoxrecError) else f"PostgreSQL takes longer than {_TIMEOUT:g} s",
        )
