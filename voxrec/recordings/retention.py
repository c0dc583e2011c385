"""Recordings whose time is over go, row and files; a legal hold keeps them."""

from datetime import UTC, datetime

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from voxrec.errors import Conflict, NotFound, StoreUnavailable
from voxrec.model import Recording
from voxrec.store.recordings import Recordings

_BATCH = 500  # Recordings looked at with one statement


class Retention:
    """Deletes what has expired; the files follow by the queue, as for every deletion."""

    _log = Logger()

    def __init__(self, clock: IReactorTime, recordings: Recordings) -> None:
        self._clock = clock
        self._recordings = recordings

    async def sweep(self) -> None:
        """Delete all whose ``expires_at`` has passed; while PostgreSQL is away they stay until the next time."""
        now = datetime.fromtimestamp(self._clock.seconds(), UTC)

        def still_expired(recording: Recording) -> None:
            # it was read without a lock: somebody may have put it on hold since
            if recording.legal_hold or recording.expires_at is None or recording.expires_at > now:
                raise Conflict(f"recording {recording.id} is kept")

        gone = 0
        try:
            while expired := await self._recordings.expired(now, _BATCH):
                before = gone
                for recording in expired:
                    try:
                        await self._recordings.delete(recording.id, still_expired)
                        gone += 1
                    except (Conflict, NotFound):
                        continue
                if gone == before:
                    break
        except StoreUnavailable as error:
            self._log.warn("expired recordings stay for now: {error}", error=error)
        if gone:
            self._log.info("{count} recordings had expired and are deleted", count=gone)
