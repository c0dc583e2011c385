"""Tests of voxrec.composition.failover."""

from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from voxrec.composition.failover import FailoverHandler
from voxrec.errors import StoreUnavailable
from voxrec.postgres.server_history import ServerHistory, ServerIdentity


class FakeJournal:
    running = True

    def __init__(self) -> None:
        self.replays: list[Deferred[None]] = []

    def replay(self) -> Deferred[None]:
        self.replays.append(Deferred())
        return self.replays[-1]


class FailoverHandlerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.history, self.journal = ServerHistory(), FakeJournal()
        self.skipped = 0
        database: Any = SimpleNamespace(
            history=self.history,
            pool=SimpleNamespace(when_ready=lambda: succeed(None)),
            events=SimpleNamespace(skip_ids=self.skip_ids),
        )
        handler = FailoverHandler(database, self.journal)  # type: ignore[arg-type]
        self.history.subscribe(handler.failed_over)
        self.connect(1)

    def skip_ids(self) -> Deferred[None]:
        self.skipped += 1
        return succeed(None)

    def connect(self, timeline: int) -> None:
        self.history.connected(ServerIdentity(7, timeline))

    def test_once_for_all_connections_to_the_new_primary(self) -> None:
        for _ in range(3):
            self.connect(2)
        self.journal.replays[0].callback(None)
        self.connect(2)
        self.assertEqual((len(self.journal.replays), self.skipped), (1, 1))
        self.assertIsNone(self.history.unhandled)

    def test_another_failover_meanwhile(self) -> None:
        self.connect(2)
        self.connect(3)
        self.journal.replays[0].callback(None)
        self.assertEqual((len(self.journal.replays), self.skipped), (2, 2))
        self.journal.replays[1].callback(None)
        self.assertIsNone(self.history.unhandled)

    def test_it_is_repeated_with_the_next_connection_if_postgresql_is_lost(self) -> None:
        self.connect(2)
        self.journal.replays[0].errback(StoreUnavailable("lost"))
        self.assertEqual(len(self.journal.replays), 1)
        self.connect(2)
        self.assertEqual(len(self.journal.replays), 2)

    def test_it_is_not_done_if_the_journal_stops(self) -> None:
        self.connect(2)
        self.journal.running = False
        self.journal.replays[0].callback(None)
        self.assertEqual(self.history.unhandled, ServerIdentity(7, 2))
