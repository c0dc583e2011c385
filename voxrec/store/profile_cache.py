"""Every Profile in memory, so that a call finds its Profile without PostgreSQL; kept current by notifications."""

from typing import Final
from uuid import UUID

from twisted.application.service import Service
from twisted.internet.base import ReactorBase
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from voxrec.deferreds import SingleFlight
from voxrec.errors import StoreUnavailable
from voxrec.model import Profile
from voxrec.postgres.pool import Pool
from voxrec.store.profile_snapshot import ProfileSnapshot, SnapshotUnreadable
from voxrec.store.profiles import Profiles
from voxrec.threads import DeferToThread

_BATCH_SIZE: Final = 500  # Profiles read with one statement
_GATHER_DELAY: Final = 0.01  # seconds in which notifications are collected: Profiles may be created by the thousand
_LOADED_POLL_INTERVAL: Final = 0.05  # seconds
_RETRY_DELAY: Final = 0.5  # seconds after a failed read
_SAVE_TIME_SHARE: Final = 0.05  # largest share of the time spent on writing snapshots: there may be 100,000 Profiles
_MIN_APPENDS: Final = 10_000  # changes that are at least appended to the snapshot before it is rewritten
_MAX_APPENDED_AGE: Final = 86400.0  # seconds for which former values of changed Profiles remain in the snapshot


class ProfileCache(Service):
    """A cache of all Profiles.

    `invalidate` handles notifications of PROFILES_CHANNEL, `invalidate_all` the recovery of the Listener. While
    PostgreSQL is down, the cache keeps its contents. At start it is filled from ``snapshot``, which `save_snapshot`,
    called about once a second, keeps up to date.

    ``loaded`` is true once the cache has Profiles from the snapshot, or PostgreSQL was read; ``confirmed`` only after
    the latter.
    """

    name = "profile cache"
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
        # Changes that the snapshot lacks. Rewriting it for each change would take time from requests and calls, and
        # disk bandwidth from PostgreSQL.
        self._unsaved: set[UUID] = set()
        self._all_unsaved = False
        self._appended = 0  # changes appended since the snapshot was last rewritten
        self._rewritten_at = 0.0
        self._next_save_at = 0.0
        self._save_failed = False
        self._index = _ProfileIndex()
        self._all_stale = False
        self._stale: set[UUID] = set()
        self._refresher = SingleFlight(self._refresh, self._refresh_failed)
        self.loaded = False
        self.confirmed = False

    def __len__(self) -> int:
        return len(self._index.profiles)

    def find(self, dialled: str) -> Profile | None:
        """Return the Profile for a dialled user part: its id in any letter case, or a number with or without ``+``."""
        return self._index.find(dialled)

    def put(self, profile: Profile) -> None:
        """Add a Profile that was read from PostgreSQL a moment ago.

        It is read again, in case it was changed meanwhile and the notification of that change was handled before.
        """
        self._index.remove(str(profile.id))
        self._index.put(profile)
        self.invalidate(str(profile.id))

    def invalidate(self, profile_id: str) -> None:
        """Read a Profile again: it was created, changed or deleted."""
        self._stale.add(UUID(profile_id))
        self._request_refresh()

    def invalidate_all(self) -> None:
        """Read all Profiles again: notifications may have been lost."""
        self._all_stale = True
        self._request_refresh()

    def startService(self) -> Deferred[None]:
        """Fill the cache from the snapshot, unless PostgreSQL was read before that."""
        super().startService()
        return Deferred.fromCoroutine(self._load_snapshot())

    def stopService(self) -> Deferred[None]:
        """Stop reading, and save the snapshot."""
        super().stopService()
        self._refresher.cancel()
        self._next_save_at = 0.0
        return Deferred.fromCoroutine(self.save_snapshot())

    async def _load_snapshot(self) -> None:
        try:
            profiles = await self._defer_to_thread(self._snapshot.read)
        except SnapshotUnreadable as error:
            self._log.warn("{error}; it is written anew once PostgreSQL is available", error=error)
            return
        if self.loaded or not profiles:
            return
        for profile in profiles:
            self._index.put(profile)
        self.loaded = True
        self._log.info("loaded {count} profiles from the snapshot of the last run", count=len(self))

    async def save_snapshot(self) -> None:
        """Save what has changed since the last call, unless the last write was too recent for the time it took."""
        started = self._reactor.seconds()
        outdated = self._appended > 0 and started >= self._rewritten_at + _MAX_APPENDED_AGE
        if not (self._unsaved or self._all_unsaved or outdated) or started < self._next_save_at:
            return
        changed, self._unsaved = self._unsaved, set()
        current = {profile_id: self._index.profiles.get(str(profile_id)) for profile_id in changed}
        deleted = [profile_id for profile_id, profile in current.items() if profile is None]
        # nothing may remain of a deleted profile, and appending leaves its earlier lines in the file
        too_many = self._appended > max(_MIN_APPENDS, len(self))
        rewrite = self._all_unsaved or bool(deleted) or outdated or too_many
        self._all_unsaved = False
        try:
            if rewrite:
                self._appended, self._rewritten_at = 0, started
                await self._defer_to_thread(self._snapshot.write, list(self._index.profiles.values()))
            else:
                self._appended += len(changed)
                profiles = [profile for profile in current.values() if profile is not None]
                await self._defer_to_thread(self._snapshot.append, profiles)
        except OSError as error:
            self._all_unsaved = True
            if not self._save_failed:
                self._log.warn("the snapshot of the profiles cannot be saved, retrying: {error}", error=error)
            self._save_failed = True
        else:
            self._save_failed = False
        ended = self._reactor.seconds()
        self._next_save_at = ended + (ended - started) / _SAVE_TIME_SHARE

    async def when_loaded(self, timeout: float) -> None:
        """Return when the cache has contents, or after ``timeout`` seconds."""
        deadline = self._reactor.seconds() + timeout
        while not self.loaded and self._reactor.seconds() < deadline:
            await deferLater(self._reactor, _LOADED_POLL_INTERVAL)

    def _request_refresh(self) -> None:
        if not self._refresher.running:  # a run in progress reads what becomes stale meanwhile
            self._refresher.request()

    async def _refresh(self) -> None:
        """Read what is stale, retrying while PostgreSQL is unavailable.

        Not deferreds.retry: more may have become stale when it tries again.
        """
        await deferLater(self._reactor, _GATHER_DELAY)
        while self._all_stale or self._stale:
            try:
                await self._pool.when_ready()
                if self._all_stale:
                    await self._read_all()
                else:
                    await self._read_stale()
            except StoreUnavailable:
                await deferLater(self._reactor, _RETRY_DELAY)

    def _refresh_failed(self, failure: Failure) -> None:
        self._log.failure("the profiles could not be read; the next change of a profile reads them again", failure)

    async def _read_all(self) -> None:
        self._all_stale = False
        self._stale.clear()
        index = _ProfileIndex()
        try:
            async for page in self._profiles.pages(size=_BATCH_SIZE):
                for profile in page:
                    index.put(profile)
        except BaseException:
            self._all_stale = True
            raise
        self._index = index
        self._all_unsaved = True
        if not self.confirmed:
            self.confirmed = self.loaded = True
            self._log.info("loaded {count} profiles from PostgreSQL", count=len(self))

    async def _read_stale(self) -> None:
        profile_ids = set(list(self._stale)[:_BATCH_SIZE])
        self._stale -= profile_ids
        try:
            profiles = await self._profiles.get_many(profile_ids)
        except BaseException:
            self._stale |= profile_ids
            raise
        for profile_id in profile_ids:
            self._index.remove(str(profile_id))
        for profile in profiles:
            self._index.put(profile)
        self._unsaved |= profile_ids


class _ProfileIndex:
    """Profiles by id and by number."""

    def __init__(self) -> None:
        self.profiles: dict[str, Profile] = {}
        self._id_by_number: dict[str, str] = {}

    def find(self, dialled: str) -> Profile | None:
        number = dialled if dialled.startswith("+") else f"+{dialled}"
        return self.profiles.get(self._id_by_number.get(number, dialled.lower()))

    def put(self, profile: Profile) -> None:
        key = str(profile.id)
        self.profiles[key] = profile
        self._id_by_number.update(dict.fromkeys(profile.numbers, key))

    def remove(self, key: str) -> None:
        profile = self.profiles.pop(key, None)
        for number in profile.numbers if profile is not None else ():
            if self._id_by_number.get(number) == key:  # the number may have been moved to another Profile
                del self._id_by_number[number]
