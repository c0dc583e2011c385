"""The cache of the Profiles, with which calls are routed while PostgreSQL is down."""

from pathlib import Path
from typing import Final

from twisted.application.internet import TimerService

from voxrec.composition.database import Database
from voxrec.composition.environment import Environment
from voxrec.store.profile_cache import ProfileCache
from voxrec.store.profile_snapshot import ProfileSnapshot

_SNAPSHOT_INTERVAL: Final = 1.0  # seconds between saves of changed Profiles to the snapshot on disk


def build_profile_cache(env: Environment, database: Database) -> ProfileCache:
    """Build the cache, which starts from a snapshot in the data directory."""
    snapshot = ProfileSnapshot(Path(env.config.data_directory, "profiles.jsonl"))
    return ProfileCache(env.reactor, database.profiles, database.pool, snapshot, env.defer_to_thread)


def build_snapshot_timer(profiles: ProfileCache) -> TimerService:
    """Build the service that saves changed Profiles to the snapshot."""
    timer = TimerService(_SNAPSHOT_INTERVAL, profiles.save_snapshot)
    timer.name = "profile snapshot"
    return timer
