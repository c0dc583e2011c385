"""Parts start one after the other, and stop in reverse, however far the start came."""

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from voxrec.errors import StoreUnavailable
from voxrec.service_tree import CoroutineService, SequentialMultiService


class InOrderTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.told: list[str] = []
        self.tree = SequentialMultiService()
        self.waits: dict[str, Deferred[None]] = {}

    def part(self, name: str, *, waits: bool = False, fails: bool = False) -> None:
        def start() -> Deferred[None]:
            self.told.append(f"start {name}")
            self.waits[name] = Deferred()
            if fails:
                raise StoreUnavailable("no")
            return self.waits[name] if waits else succeed(None)

        def stop() -> Deferred[None]:
            self.told.append(f"stop {name}")
            if fails:
                raise ZeroDivisionError
            return succeed(None)

        CoroutineService(name, start, stop).setServiceParent(self.tree)

    def test_each_waits_for_the_one_before(self) -> None:
        self.part("a", waits=True)
        self.part("b")
        started = self.tree.startService()
        self.assertEqual(self.told, ["start a"])
        self.waits["a"].callback(None)
        self.successResultOf(started)
        self.assertEqual(self.told, ["start a", "start b"])

    def test_they_stop_in_reverse(self) -> None:
        self.part("a")
        self.part("b")
        self.successResultOf(self.tree.startService())
        self.told.clear()
        self.successResultOf(self.tree.stopService())
        self.assertEqual(self.told, ["stop b", "stop a"])

    def test_what_was_not_started_is_not_stopped(self) -> None:
        self.part("a")
        self.part("b", waits=True)
        self.part("c")
        starting = self.tree.startService()
        self.successResultOf(self.tree.stopService())
        self.failureResultOf(starting)
        self.assertEqual(self.told, ["start a", "start b", "stop b", "stop a"])

    def test_one_that_fails_ends_the_start_and_does_not_keep_the_others_from_stopping(self) -> None:
        self.part("a")
        self.part("b", fails=True)
        self.part("c")
        self.failureResultOf(self.tree.startService(), StoreUnavailable)
        self.successResultOf(self.tree.stopService())
        self.assertEqual(self.told, ["start a", "start b", "stop b", "stop a"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
