"""The readiness probes of /health/ready."""

from typing import Protocol


class Pool(Protocol):
    """The connection pool of PostgreSQL."""

    @property
    def ready(self) -> bool:
        """Whether a connection is open."""

    async def ping(self) -> None:
        """Check that PostgreSQL responds."""


class Profiles(Protocol):
    """The cache of the Profiles. ``confirmed``: it was read from PostgreSQL since the start."""

    confirmed: bool


class Session(Protocol):
    """The session with Asterisk."""

    replaced: bool
    version: str | None


class DatabaseProbe:
    """PostgreSQL is ready if it responds, and the Profiles were read from it."""

    def __init__(self, pool: Pool, profiles: Profiles) -> None:
        self._pool = pool
        self._profiles = profiles

    async def __call__(self) -> str | None:
        """Return None if ready, otherwise the reason."""
        if not self._pool.ready:
            return "PostgreSQL is unreachable"
        await self._pool.ping()
        return None if self._profiles.confirmed else "the Profiles have not been read yet"


class AsteriskProbe:
    """Asterisk is ready while this daemon receives the events of the application."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def __call__(self) -> str | None:
        """Return None if ready, otherwise the reason."""
        if self._session.replaced:
            return "another program has taken over the Stasis application"
        return None if self._session.version is not None else "the event websocket is not open"
