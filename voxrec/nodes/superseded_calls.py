"""Keeps one call from reaching its far end through two nodes.

A SIP proxy passes a call to another node if one does not respond in time (etc/kamailio/kamailio.cfg). The first node
may yet have received the INVITE: it was suspended, is overloaded, or only its responses were lost. The proxy cancels
what it has given up when it hears of it, but only while it remembers the call. Therefore a node that gets a call after
others did not respond records that in PostgreSQL before it places the call, and each node looks there first.
"""

from collections.abc import Callable, Collection
from typing import Final

from twisted.internet.defer import Deferred, TimeoutError  # noqa: A004
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from voxrec.deferreds import shielded
from voxrec.errors import VoxrecError
from voxrec.model import Attempt
from voxrec.nodes.membership import Membership
from voxrec.store.call_attempts import CallAttempts

_TIMEOUT: Final = 1.0  # seconds for which a caller waits for PostgreSQL


class SupersededCalls:
    """Finds out which calls of this node were passed to another node.

    ``unanswered`` returns the attempts whose far ends are being called; ``give_up`` is called with an attempt that
    supersedes earlier ones, which may be among them. While PostgreSQL is unavailable, no call counts as superseded.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        attempts: CallAttempts,
        membership: Membership,
        unanswered: Callable[[], Collection[Attempt]],
        give_up: Callable[[Attempt], object],
    ) -> None:
        self._clock = clock
        self._attempts = attempts
        self._membership = membership
        self._unanswered = unanswered
        self._give_up = give_up
        self._overdue = 0  # requests to which PostgreSQL has not responded in time, and not yet

    async def is_superseded(self, attempt: Attempt) -> bool:
        """Return whether a call was passed to another node after this one. Does not raise.

        A call waits for PostgreSQL for a second at most, and not at all while a call that has waited that long has no
        response yet.
        """
        if attempt.number == 0 and self._membership.alone:
            return False
        if self._overdue:
            return False
        known = self._attempts.record if attempt.number else self._attempts.latest
        request = Deferred.fromCoroutine(known(attempt))
        try:
            latest = await shielded(request).addTimeout(_TIMEOUT, self._clock)
        except TimeoutError:
            if not self._overdue:
                self._log.warn("PostgreSQL does not say in time whether another node has a call; the call continues")
            self._overdue += 1
            request.addBoth(self._responded)
            return False
        except VoxrecError as error:
            self._log.debug("it is not known whether another node has a call, which continues: {error}", error=error)
            return False
        return latest.supersedes(attempt)

    def _responded(self, _outcome: object) -> None:
        self._overdue -= 1

    def notified(self, payload: str) -> None:
        """Handle the notification that a call was passed to another node."""
        if (attempt := Attempt.parse(payload)) is not None:
            self._give_up(attempt)

    async def compare(self) -> None:
        """Find what was not notified while this node was not connected. Raises StoreUnavailable."""
        if unanswered := self._unanswered():
            for attempt in await self._attempts.latest_of_all(unanswered):
                self._give_up(attempt)
