"""Hourly removal of expired rows and abandoned files."""

from collections.abc import Collection
from datetime import timedelta
from pathlib import Path
from typing import Final, Protocol
from uuid import UUID

from twisted.application.internet import TimerService
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from voxrec.errors import VoxrecError
from voxrec.threads import DeferToThread
from voxrec.web.uploads import remove_stale_files

_INTERVAL: Final = 3600.0  # seconds
# A done erase job is the record that a Recording existed. A journal that an old daemon left must not create the
# Recording again, and no journal is older than this.
_ERASED_JOBS_AGE: Final = timedelta(days=30)
_EXPIRED_LINKS_AGE: Final = timedelta(days=90)  # they are listed until then, with their uses
_BULK_ACTIONS_AGE: Final = timedelta(days=30)
_REJECTED_LINES_AGE: Final = timedelta(days=30)


class IdempotencyKeys(Protocol):
    """The repository of idempotency keys."""

    async def delete_expired(self) -> object:
        """Delete the expired keys."""


class Jobs(Protocol):
    """The repository of jobs."""

    async def purge_erased(self, age: timedelta, /) -> object:
        """Delete the done jobs of Recordings that were erased longer than ``age`` ago."""

    async def deleted_recordings(self, recording_ids: Collection[UUID], /) -> Collection[UUID]:
        """Return those of the ids whose Recording was deleted."""


class RejectedLines(Protocol):
    """The lines of the journal that can never be applied."""

    def recording_ids(self) -> Collection[UUID]:
        """Return the ids of their Recordings."""

    def delete(self, recording_ids: Collection[UUID], /) -> object:
        """Delete the lines of these Recordings."""

    def delete_older_than(self, age: timedelta, /) -> object:
        """Delete the lines that were rejected longer than ``age`` ago."""


class Events(Protocol):
    """The repository of events."""

    async def delete_older_than(self, age: timedelta, /) -> object:
        """Delete the events that are older than ``age``."""


class WebhookMessages(Protocol):
    """The repository of messages to webhooks."""

    async def delete_older_than(self, age: timedelta, /) -> object:
        """Delete the messages that are older than ``age``, with their deliveries and attempts."""


class Links(Protocol):
    """The repository of expiring links."""

    async def delete_expired(self, age: timedelta, /) -> object:
        """Delete the links that expired longer than ``age`` ago."""


class BounceKeys(Protocol):
    """The repository of the keys of bounce addresses."""

    async def delete_old(self) -> object:
        """Delete the keys that are not used any more."""


class Exports(Protocol):
    """The files of exports."""

    async def clean_up(self) -> object:
        """Delete those that are not needed any more."""


class BulkActions(Protocol):
    """The repository of bulk actions."""

    async def delete_expired(self, age: timedelta, /) -> object:
        """Delete previews that were not confirmed, and what ended longer than ``age`` ago."""


class Housekeeping(TimerService):
    """Deletes what has expired every hour.

    That is: abandoned uploads, idempotency keys, jobs of erased Recordings, old events, old messages to webhooks,
    expired links, exports and bulk actions, old keys, and rejected lines of the journal, at once if their Recording was
    deleted.
    """

    name = "housekeeping"
    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        idempotency: IdempotencyKeys,
        jobs: Jobs,
        events: Events,
        webhook_messages: WebhookMessages,
        links: Links,
        bounce_keys: BounceKeys,
        exports: Exports,
        bulk_actions: BulkActions,
        rejected_lines: RejectedLines,
        *,
        event_retention: timedelta,
        webhook_retention: timedelta,
        work_directory: Path,
        defer_to_thread: DeferToThread,
    ) -> None:
        super().__init__(_INTERVAL, self.clean_up)
        self.clock = clock
        self._idempotency = idempotency
        self._jobs = jobs
        self._events = events
        self._links = links
        self._bounce_keys = bounce_keys
        self._exports = exports
        self._bulk_actions = bulk_actions
        self._rejected_lines = rejected_lines
        self._event_retention = event_retention
        self._webhook_messages = webhook_messages
        self._webhook_retention = webhook_retention
        self._work_directory = work_directory
        self._defer_to_thread = defer_to_thread

    async def clean_up(self) -> None:
        """Delete everything that has expired. After an error, the rest is deleted an hour later."""
        try:
            await self._defer_to_thread(remove_stale_files, self._work_directory)
            await self._defer_to_thread(self._rejected_lines.delete_older_than, _REJECTED_LINES_AGE)
            await self._idempotency.delete_expired()
            await self._delete_rejected_lines()
            await self._jobs.purge_erased(_ERASED_JOBS_AGE)
            await self._events.delete_older_than(self._event_retention)
            await self._webhook_messages.delete_older_than(self._webhook_retention)
            await self._links.delete_expired(_EXPIRED_LINKS_AGE)
            await self._bounce_keys.delete_old()
            await self._exports.clean_up()
            await self._bulk_actions.delete_expired(_BULK_ACTIONS_AGE)
        except (VoxrecError, OSError) as error:
            self._log.warn(
                "expired data could not be deleted; retrying in {interval:g} s: {error}",
                interval=_INTERVAL,
                error=error,
            )

    async def _delete_rejected_lines(self) -> None:
        if recording_ids := await self._defer_to_thread(self._rejected_lines.recording_ids):
            deleted = await self._jobs.deleted_recordings(recording_ids)
            await self._defer_to_thread(self._rejected_lines.delete, deleted)
