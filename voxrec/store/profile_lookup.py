"""Looks into PostgreSQL for a Profile that the cache lacks, for example because it was created a moment ago.

The load does not depend on the number of calls: unknown numbers are looked up together, in at most 20 queries a second.
"""

import re
from typing import Final
from uuid import UUID

from twisted.internet.defer import Deferred, TimeoutError  # noqa: A004
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from voxrec.deferreds import SingleFlight
from voxrec.errors import StoreUnavailable
from voxrec.model.fields import E164
from voxrec.store.profile_cache import ProfileCache
from voxrec.store.profiles import Profiles

TIMEOUT: Final = 0.5  # seconds that a call waits at most
INTERVAL: Final = 0.05  # seconds between two queries
MAX_WAITING: Final = 200  # dialled ids and numbers; further ones are not looked up
_NUMBER: Final = re.compile(E164)


class ProfileLookup:
    """Adds to ``cache`` the Profiles that it lacks."""

    _log = Logger()

    def __init__(self, clock: IReactorTime, profiles: Profiles, cache: ProfileCache) -> None:
        self._clock = clock
        self._profiles = profiles
        self._cache = cache
        self._waiting: dict[UUID | str, list[Deferred[None]]] = {}
        self._querying = SingleFlight(self._query, self._query_failed)

    async def look_up(self, dialled: str) -> None:
        """Return when the cache has the Profile for a dialled user part, if PostgreSQL has one.

        Returns as well after TIMEOUT, while PostgreSQL is unavailable, and while too many others wait.
        """
        key = _parse(dialled)
        if key is None or (key not in self._waiting and len(self._waiting) >= MAX_WAITING):
            return
        waiter: Deferred[None] = Deferred()
        self._waiting.setdefault(key, []).append(waiter)
        self._querying.request()
        try:
            await waiter.addTimeout(TIMEOUT, self._clock)
        except TimeoutError:
            self._log.debug("a profile was not looked up in time")

    async def _query(self) -> None:
        requested, self._waiting = self._waiting, {}
        ids = [key for key in requested if isinstance(key, UUID)]
        numbers = [key for key in requested if isinstance(key, str)]
        try:
            for profile in await self._profiles.find_dialled(ids, numbers) if requested else ():
                self._cache.put(profile)
        except StoreUnavailable as error:
            self._log.debug("profiles were not looked up: {error}", error=error)
        finally:
            for waiter in (waiter for waiters in requested.values() for waiter in waiters):
                if not waiter.called:
                    waiter.callback(None)
        await deferLater(self._clock, INTERVAL)

    def _query_failed(self, failure: Failure) -> None:
        self._log.failure("looking up profiles failed; the next call with an unknown number tries again", failure)


def _parse(dialled: str) -> UUID | str | None:
    """Return the Profile id or the number that was dialled, or None for what can be neither."""
    number = dialled if dialled.startswith("+") else f"+{dialled}"
    if _NUMBER.fullmatch(number):
        return number
    try:
        profile_id = UUID(dialled)
    except ValueError:
        return None
    return profile_id if str(profile_id) == dialled.lower() else None
