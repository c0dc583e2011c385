"""Deletes Recordings whose retention period has ended, unless they are under legal hold."""

from datetime import UTC, datetime
from functools import partial
from typing import Final
from uuid import uuid4

from twisted.application.internet import TimerService
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from voxrec.clock import utc_now
from voxrec.errors import Conflict, NotFound, StoreUnavailable
from voxrec.model import AuditEntry, AuditOutcome, Recording
from voxrec.store.recordings import Recordings

_INTERVAL: Final = 3600.0  # seconds between sweeps
_BATCH_SIZE: Final = 500  # Recordings per query


class RetentionSweeper(TimerService):
    """Deletes expired Recordings every hour. Their files are deleted by ``erase`` jobs, as for every deletion."""

    name = "retention"
    _log = Logger()

    def __init__(self, clock: IReactorTime, recordings: Recordings) -> None:
        super().__init__(_INTERVAL, self.sweep)
        self.clock = self._clock = clock
        self._recordings = recordings

    async def sweep(self) -> None:
        """Delete all Recordings whose ``expires_at`` has passed. If PostgreSQL is unavailable, the next sweep does."""
        now = utc_now(self._clock)
        deleted = 0
        try:
            while expired := await self._recordings.expired(now, _BATCH_SIZE):
                deleted_in_batch = await self._delete(expired, now)
                if not deleted_in_batch:
                    break
                deleted += deleted_in_batch
        except StoreUnavailable as error:
            self._log.warn(
                "expired recordings could not be deleted; retrying in {interval:.0f} s: {error}",
                interval=_INTERVAL,
                error=error,
            )
        if deleted:
            self._log.info("{count} expired recordings were deleted", count=deleted)

    async def _delete(self, expired: list[Recording], now: datetime) -> int:
        """Delete Recordings that are still expired, and return their number."""

        def require_expired(recording: Recording) -> None:
            # it was read without a lock: a legal hold may have been set since
            if recording.legal_hold or recording.expires_at is None or recording.expires_at > now:
                raise Conflict(f"recording {recording.id} has not expired or is under legal hold")

        deleted = 0
        for recording in expired:
            try:
                await self._recordings.expire(recording.id, require_expired, partial(_audit_entry, now))
                deleted += 1
            except (Conflict, NotFound):
                continue
        return deleted


def _audit_entry(now: datetime, recording: Recording) -> AuditEntry:
    """Return the entry that remains of an expired Recording."""
    assert recording.expires_at is not None, "an expired Recording has a time of expiry"
    return AuditEntry(
        id=uuid4(),
        created_at=now,
        who="retention",
        address="local",
        method="RULE",
        path=f"/recordings/{recording.id}",
        kind="recording",
        target_id=recording.id,
        outcome=AuditOutcome.DONE,
        reason=f"expiresAt {recording.expires_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ} has passed",
    )
