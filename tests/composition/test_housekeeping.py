"""Tests of voxrec.composition.housekeeping."""

import os
import time
from collections.abc import Callable, Collection
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from voxrec.composition.housekeeping import Housekeeping
from voxrec.errors import StoreUnavailable
from voxrec.journal.rejected import RejectedLines

DELETED = uuid4()


class FakeRepository:
    """All three repositories; ``error`` is raised by the first deletion."""

    def __init__(self) -> None:
        self.deleted: list[object] = []
        self.error: Exception | None = None

    async def delete_expired(self) -> None:
        if self.error is not None:
            raise self.error
        self.deleted.append("idempotency keys")

    async def deleted_recordings(self, recording_ids: Collection[UUID], /) -> Collection[UUID]:
        return {recording_id for recording_id in recording_ids if recording_id == DELETED}

    async def purge_erased(self, age: timedelta, /) -> None:
        self.deleted.append(("jobs", age))

    async def delete_older_than(self, age: timedelta, /) -> None:
        self.deleted.append(("events", age))


class FakeWebhookMessages:
    """The repository of messages to webhooks."""

    def __init__(self) -> None:
        self.deleted: list[timedelta] = []

    async def delete_older_than(self, age: timedelta, /) -> None:
        self.deleted.append(age)


class FakeLinks:
    """The repository of expiring links."""

    def __init__(self) -> None:
        self.deleted: list[timedelta] = []

    async def delete_expired(self, age: timedelta, /) -> None:
        self.deleted.append(age)


class FakeBounceKeys:
    """The keys of bounce addresses."""

    def __init__(self) -> None:
        self.deletions = 0

    async def delete_old(self) -> None:
        self.deletions += 1


class FakeExports:
    """The files of exports."""

    def __init__(self) -> None:
        self.clean_ups = 0

    async def clean_up(self) -> None:
        self.clean_ups += 1


async def call_directly(function: Callable[..., Any], *args: Any) -> Any:
    return function(*args)


class HousekeepingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.repository = FakeRepository()
        self.webhook_messages = FakeWebhookMessages()
        self.links = FakeLinks()
        self.bounce_keys = FakeBounceKeys()
        self.exports = FakeExports()
        self.bulk_actions = FakeLinks()
        self.directory = Path(self.mktemp())
        self.rejected_lines = RejectedLines(self.directory)
        self.service = Housekeeping(
            self.clock,
            self.repository,
            self.repository,
            self.repository,
            self.webhook_messages,
            self.links,
            self.bounce_keys,
            self.exports,
            self.bulk_actions,
            self.rejected_lines,
            event_retention=timedelta(days=7),
            webhook_retention=timedelta(days=30),
            work_directory=Path("/nowhere"),
            defer_to_thread=call_directly,
        )
        self.addCleanup(self.service.stopService)

    def test_rejected_lines_of_deleted_recordings_and_old_ones_are_deleted(self) -> None:
        self.rejected_lines.add(b'{"id":"%s","from":"+4930"}' % str(DELETED).encode())
        kept = self.rejected_lines.add(b'{"id":"%s"}' % str(uuid4()).encode())
        unreadable, old = self.rejected_lines.add(b"no JSON"), self.rejected_lines.add(b"no JSON either")
        os.utime(old, (time.time() - 31 * 86400,) * 2)
        self.service.startService()
        self.assertEqual({*self.directory.iterdir()}, {kept, unreadable})

    def test_old_messages_to_webhooks_are_deleted(self) -> None:
        self.service.startService()
        self.assertEqual(self.webhook_messages.deleted, [timedelta(days=30)])

    def test_links_are_deleted_90_days_after_their_expiry(self) -> None:
        self.service.startService()
        self.assertEqual((self.links.deleted, self.exports.clean_ups), ([timedelta(days=90)], 1))

    def test_old_keys_of_bounce_addresses_are_deleted(self) -> None:
        self.service.startService()
        self.assertEqual(self.bounce_keys.deletions, 1)

    def test_it_runs_at_the_start_and_every_hour(self) -> None:
        self.service.startService()
        everything = ["idempotency keys", ("jobs", timedelta(days=30)), ("events", timedelta(days=7))]
        self.assertEqual(self.repository.deleted, everything)
        self.clock.advance(3600)
        self.assertEqual(self.repository.deleted, everything * 2)

    def test_an_unavailable_database_is_logged_and_retried(self) -> None:
        self.repository.error = StoreUnavailable("no connection")
        with capturedLogs() as logs:
            self.service.startService()
        self.assertEqual(len(logs), 1)
        self.repository.error = None
        self.clock.advance(3600)
        self.assertEqual(len(self.repository.deleted), 3)
