"""The maximum number of calls of a Profile over all nodes (``maxCalls``)."""

from collections.abc import Callable
from typing import Final
from uuid import UUID, uuid4

from twisted.internet.defer import Deferred, TimeoutError  # noqa: A004
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from voxrec.errors import StoreUnavailable, VoxrecError
from voxrec.model import Profile
from voxrec.nodes.call_directory import CallDirectory
from voxrec.nodes.membership import Membership
from voxrec.store.nodes import Nodes

RESERVATION_TIMEOUT: Final = 4.0
"""Seconds for which a caller waits for PostgreSQL.

With the second that `voxrec.nodes.superseded_calls` may take, it is less than the 6 s within which 95 % of local calls
are to be set up (ITU-T E.721, table 1).
"""


class CallLimits:
    """Reserves each call of a Profile that has a maximum, in one statement, before it is accepted.

    The maximum is exact if PostgreSQL responds within `RESERVATION_TIMEOUT`. Otherwise a call has priority: nothing is
    reserved, each node counts its own calls, and ``on_inexact`` is called. On a single node nothing is reserved either.
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
        on_inexact: Callable[[], object] = lambda: None,
    ) -> None:
        self._clock = clock
        self._nodes = nodes
        self._membership = membership
        self._directory = directory
        self._count_own = count_own
        self._on_inexact = on_inexact
        self._uncounted: set[UUID] = set()  # Profiles whose calls on other nodes were not counted, as is logged

    async def reserve(self, profile: Profile) -> bool | None:
        """Return whether a call may begin now, or None if nothing was reserved. Does not raise.

        The caller must begin the call, or give it up, at once when this returns: the reservation ends as soon as the
        live calls of this node are stored.
        """
        if self._membership.alone:
            return None
        try:
            request = Deferred.fromCoroutine(self._reserve(profile))
            granted: bool = await request.addTimeout(RESERVATION_TIMEOUT, self._clock)
        except (VoxrecError, TimeoutError) as error:
            self._on_inexact()
            self._report(profile.id, error)
            return None
        if profile.id in self._uncounted:
            self._uncounted.discard(profile.id)
            self._log.info("maxCalls of profile {profile} counts calls of other nodes again", profile=profile.id)
        return granted

    async def _reserve(self, profile: Profile) -> bool:
        try:
            return await self._request(profile)
        except StoreUnavailable:  # perhaps only this connection was lost; if not, this one fails at once
            return await self._request(profile)

    async def _request(self, profile: Profile) -> bool:
        reservation = uuid4()
        try:
            granted = await self._nodes.reserve_call(
                reservation,
                self._membership.node,
                profile,
                self._count_own(profile.id),
                self._directory.known_calls(profile.id),
                frozenset(self._directory.reservations),
            )
        except Exception:
            self._directory.reservations.add(reservation)  # it may have been committed
            raise
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
            error=error
            if isinstance(error, VoxrecError)
            else f"PostgreSQL takes longer than {RESERVATION_TIMEOUT:g} s",
        )
