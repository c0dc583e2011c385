"""Repository of the calls that were passed to another node because nodes did not respond."""

from collections.abc import Collection
from typing import Final

from voxrec.model import Attempt
from voxrec.postgres.database import Database
from voxrec.postgres.statement import PreparedStatement

CALL_ATTEMPTS_CHANNEL: Final = "voxrec_call_attempts"
"""Notified when a call was passed to another node; the payload is the `Attempt`."""

_LATEST: Final = PreparedStatement("SELECT number FROM call_attempts WHERE invite = %s")
_LATEST_OF_ALL: Final = "SELECT invite, number FROM call_attempts WHERE invite = ANY(%s)"
# A node can receive a call that late if its machine was suspended.
_RECORD: Final = """
    WITH expired AS (DELETE FROM call_attempts WHERE made_at < now() - interval '7 days' AND invite <> %s)
    INSERT INTO call_attempts (invite, number) VALUES (%s, %s)
    ON CONFLICT (invite) DO UPDATE SET number = greatest(call_attempts.number, excluded.number), made_at = now()
    RETURNING number, pg_notify(%s, invite || '/' || number)
"""


class CallAttempts:
    """The table of attempts. Methods raise StoreUnavailable while PostgreSQL cannot be reached."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def latest(self, attempt: Attempt) -> Attempt:
        """Return the latest recorded attempt to pass on the same INVITE, or ``attempt`` if it is not earlier."""
        rows = await self._database.query(_LATEST, (attempt.invite,))
        return Attempt(attempt.invite, max((attempt.number, *(number for (number,) in rows))))

    async def record(self, attempt: Attempt) -> Attempt:
        """Record an attempt after which earlier ones must not be continued, notify all nodes, and return the latest."""
        params = (attempt.invite, attempt.invite, attempt.number, CALL_ATTEMPTS_CHANNEL)
        ((number, _),) = await self._database.returning(_RECORD, params)
        return Attempt(attempt.invite, number)

    async def latest_of_all(self, attempts: Collection[Attempt]) -> list[Attempt]:
        """Return the latest recorded attempts to pass on the same INVITEs as these."""
        rows = await self._database.query(_LATEST_OF_ALL, ([attempt.invite for attempt in attempts],))
        return [Attempt(*row) for row in rows]
