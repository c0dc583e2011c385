"""Every Profile in memory, so that a call finds its own without PostgreSQL; kept current by what PostgreSQL tells."""

from typing import Final
from uuid import UUID

from twisted.internet.base import ReactorBase
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from voxrec.errors import StoreUnavailable
from voxrec.model import Profile
from voxrec.store.pool import Pool
from voxrec.store.profiles import Profiles

_AT_A_TIME: Final = 500  # Profiles read with one statement
_PAUSE: Final = 0.5  # seconds after a failed read


class ProfileDirectory:
    """Wire ``changed`` to PROFILES_CHANNEL of a Listener, and ``reload`` to its ``on_recovered``.

    While PostgreSQL is down, what is known stays in place.
    """

    _log = Logger()

    def __init__(self, reactor: ReactorBase, profiles: Profiles, pool: Pool) -> None:
        self._reactor = reactor
        self._profiles = profiles
        self._pool = pool
        self._known = _Index()
        self._all_stale = False
        self._stale: set[UUID] = set()
        self._reader: Deferred[None] | None = None
        self.loaded = False

    def __len__(self) -> int:
        return len(self._known.profiles)

    def find(self, dialled: str) -> Profile | None:
        """The Profile that a dialled user part means: its id in any letter case, or a number with or without ``+``."""
        return self._known.find(dialled)

    def changed(self, profile_id: str) -> None:
        """Take it that a Profile came, changed or went."""
        self._stale.add(UUID(profile_id))
        self._read()

    def reload(self) -> None:
        """Take it that anything may have changed."""
        self._all_stale = True
        self._read()

    async def stop(self) -> None:
        """Read no more."""
        if self._reader is not None:
            self._reader.cancel()

    def _read(self) -> None:
        if self._reader is None:
            self._reader = reader = Deferred.fromCoroutine(self._refresh())
            reader.addErrback(self._ended).addCallback(self._rest)

    def _rest(self, _: None) -> None:
        self._reader = None

    async def _refresh(self) -> None:
        await deferLater(self._reactor, 0)  # all that is told in one turn is read at once
        while self._all_stale or self._stale:
            try:
                await self._pool.when_ready()
                if self._all_stale:
                    await self._refresh_all()
                else:
                    await self._refresh_some()
            except StoreUnavailable:
                await deferLater(self._reactor, _PAUSE)

    async def _refresh_all(self) -> None:
        self._all_stale = False
        self._stale.clear()
        fresh = _Index()
        try:
            async for page in self._profiles.pages(size=_AT_A_TIME):
                for profile in page:
                    fresh.put(profile)
        except BaseException:
            self._all_stale = True
            raise
        self._known = fresh
        if not self.loaded:
            self.loaded = True
            self._log.info("{count} profiles known", count=len(self))

    async def _refresh_some(self) -> None:
        wanted = set(list(self._stale)[:_AT_A_TIME])
        self._stale -= wanted
        try:
            profiles = await self._profiles.some(wanted)
        except BaseException:
            self._stale |= wanted
            raise
        for profile_id in wanted:
            self._known.drop(str(profile_id))
        for profile in profiles:
            self._known.put(profile)

    def _ended(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self._log.failure("the profiles could not be read", failure)


class _Index:
    def __init__(self) -> None:
        self.profiles: dict[str, Profile] = {}
        self._ids: dict[str, str] = {}  # by number

    def find(self, dialled: str) -> Profile | None:
        number = dialled if dialled.startswith("+") else f"+{dialled}"
        return self.profiles.get(self._ids.get(number, dialled.lower()))

    def put(self, profile: Profile) -> None:
        key = str(profile.id)
        self.profiles[key] = profile
        self._ids.update(dict.fromkeys(profile.numbers, key))

    def drop(self, key: str) -> None:
        old = self.profiles.pop(key, None)
        for number in old.numbers if old is not None else ():
            if self._ids.get(number) == key:  # it may belong to another Profile already
                del self._ids[number]
