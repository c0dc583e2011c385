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
from voxrec.postgres.pool import Pool
from voxrec.store.profile_snapshot import ProfileSnapshot, SnapshotUnreadable
from voxrec.store.profiles import Profiles
from voxrec.threads import DeferToThread

_AT_A_TIME: Final = 500  # Profiles read with one statement
_GATHER: Final = 0.01  # seconds in which what is told is read at once: Profiles may be made by the thousand
_LOOK: Final = 0.05  # seconds between looks whether they are known
_PAUSE: Final = 0.5  # seconds after a failed read
_KEEPING: Final = 0.05  # share of the time that may go into writing the snapshot: Profiles may be there by the 100,000
_ADDED: Final = 10_000  # changes, at least, that are added to the snapshot before it is written anew


class ProfileCache:
    """Wire ``changed`` to PROFILES_CHANNEL of a Listener, and ``reload`` to its ``on_recovered``.

    While PostgreSQL is down, what is known stays in place; a voxrec that starts then knows what the last one kept in
    ``snapshot``, which `keep`, called every second or so, brings up to date.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: ReactorBase,
        profiles: Profiles,
        pool: Pool,
        snapshot: ProfileSnapshot,
        defer_to_thread: DeferToThread,
    ) -> None:
        self._reactor = reactor
        self._profiles = profiles
        self._pool = pool
        self._snapshot = snapshot
        self._defer_to_thread = defer_to_thread
        # What is known and the snapshot does not hold. To write all of it for each change would take the time of
        # requests and calls, and the disk's from PostgreSQL.
        self._unkept: set[UUID] = set()
        self._all_unkept = False
        self._added = 0  # changes since the snapshot was written as a whole
        self._keep_from = 0.0  # not before that
        self._known = _Index()
        self._all_stale = False
        self._stale: set[UUID] = set()
        self._reader: Deferred[None] | None = None
        self.loaded = False  # something is known, if only from the last run
        self.confirmed = False  # PostgreSQL has said so

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

    async def start(self) -> None:
        """Know what the last run knew, until PostgreSQL says how things are."""
        try:
            profiles = await self._defer_to_thread(self._snapshot.read)
        except SnapshotUnreadable as error:
            self._log.debug("{error}", error=error)
            return
        if self.loaded:
            return
        for profile in profiles:
            self._known.put(profile)
        self.loaded = True
        self._log.info("{count} profiles known from the last run", count=len(self))

    async def stop(self) -> None:
        """Read no more, and keep what is known."""
        if self._reader is not None:
            self._reader.cancel()
        self._keep_from = 0.0
        await self.keep()

    async def keep(self) -> None:
        """Bring the snapshot up to what is known now, where it is not, and it is not too soon after the last time."""
        began = self._reactor.seconds()
        if not (self._unkept or self._all_unkept) or began < self._keep_from:
            return
        changed, self._unkept = self._unkept, set()
        anew, self._all_unkept = self._all_unkept or self._added > max(_ADDED, len(self)), False
        try:
            if anew:
                self._added = 0
                await self._defer_to_thread(self._snapshot.write, list(self._known.profiles.values()))
            else:
                self._added += len(changed)
                found = {one: self._known.profiles.get(str(one)) for one in changed}
                gone = [one for one, profile in found.items() if profile is None]
                await self._defer_to_thread(
                    self._snapshot.add, [one for one in found.values() if one is not None], gone
                )
        except OSError as error:
            self._all_unkept = True
            self._log.warn("the profiles cannot be kept for the next start: {error}", error=error)
        ended = self._reactor.seconds()
        self._keep_from = ended + (ended - began) / _KEEPING

    async def when_loaded(self, seconds: float) -> None:
        """Wait until they are known, though no longer than that."""
        until = self._reactor.seconds() + seconds
        while not self.loaded and self._reactor.seconds() < until:
            await deferLater(self._reactor, _LOOK)

    def _read(self) -> None:
        if self._reader is None:
            self._reader = reader = Deferred.fromCoroutine(self._refresh())
            reader.addErrback(self._ended).addCallback(self._rest)

    def _rest(self, _: None) -> None:
        self._reader = None

    async def _refresh(self) -> None:
        await deferLater(self._reactor, _GATHER)
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
        self._all_unkept = True
        if not self.confirmed:
            self.confirmed = self.loaded = True
            self._log.info("{count} profiles known", count=len(self))

    async def _refresh_some(self) -> None:
        wanted = set(list(self._stale)[:_AT_A_TIME])
        self._stale -= wanted
        try:
            profiles = await self._profiles.get_many(wanted)
        except BaseException:
            self._stale |= wanted
            raise
        for profile_id in wanted:
            self._known.drop(str(profile_id))
        for profile in profiles:
            self._known.put(profile)
        self._unkept |= wanted

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
