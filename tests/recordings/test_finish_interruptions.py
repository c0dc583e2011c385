"""Tests of voxrec.recordings.finish: attempts that end at any step, and concurrent attempts."""

import hashlib
import itertools
import os
from collections.abc import Callable, Coroutine
from pathlib import Path

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure
from twisted.python.monkey import MonkeyPatcher

from tests.audio.fixtures import silence, tone
from tests.recordings.finish_fixtures import (
    JOB,
    PATH,
    FinishFixture,
    FinishTestCase,
    Leg,
    PersistentRecordings,
    wav_header,
)
from voxrec.archive.interface import ArchiveUnavailable
from voxrec.archive.local import LocalArchive
from voxrec.errors import AudioError
from voxrec.model import (
    RecordingState,
)
from voxrec.recordings import joining, legs
from voxrec.recordings.work_files import WorkFiles


class ConcurrentAttemptTests(FinishTestCase):
    """A second attempt runs while the first, whose lease has expired, is at one of its steps."""

    def test_attempts_do_not_write_to_the_same_file(self) -> None:
        for owner, name in ((joining, "join"), (joining, "make_verdict"), (LocalArchive, "put")):
            for second_attempt in (self.run_job, self.produce_without_storing):
                with self.subTest(name, second_attempt=second_attempt.__name__):
                    self.fixture = FinishFixture(self.base / f"{name}-{second_attempt.__name__}")
                    self.fixture.write_legs(tone(440, 3), tone(880, 3))
                    self.run_before(owner, name, second_attempt)
                    result = maybeDeferred(Deferred.fromCoroutine, self.fixture.finisher(JOB))
                    if isinstance(getattr(result, "result", None), Failure):
                        self.failureResultOf(result, ArchiveUnavailable, AudioError)
                    self.run_job()
                    row = self.fixture.recordings.row
                    self.assertEqual((row.state, row.duration), (RecordingState.COMPLETED, 3.0))
                    archived = (self.fixture.root / PATH).read_bytes()
                    self.assertEqual((row.size, row.sha256), (len(archived), hashlib.sha256(archived).hexdigest()))
                    self.assertEqual([*self.fixture.work.iterdir(), *self.fixture.spool.iterdir()], [])

    def produce_without_storing(self) -> None:
        self.fixture.finisher._produce(self.fixture.recordings.row)

    def run_before(self, owner: object, name: str, second_attempt: Callable[[], object]) -> None:
        step = getattr(owner, name)

        def run_second_attempt_first(*args: object, **kwargs: object) -> object:
            patcher.restore()
            second_attempt()
            return step(*args, **kwargs)

        patcher: MonkeyPatcher = self.patch(owner, name, run_second_attempt_first)


STEPS: dict[str, object] = {
    "needs_repair": legs,
    "repair_header": legs,
    "probe": legs,
    "new": WorkFiles,
    "join": joining,
    "make_verdict": joining,
    "put": LocalArchive,
    "mkdir": Path,
    "rename": Path,
    "complete": PersistentRecordings,
    "locate": LocalArchive,
    "unlink": Path,
}


class InjectedError(Exception):
    """Ends an attempt."""


def raise_error() -> None:
    raise InjectedError


def exit_process() -> None:
    """Exit without any cleanup, as after a power failure."""
    os._exit(INJECTED_EXIT)


INJECTED_EXIT = 9


class InterruptionTests(FinishTestCase):
    """After an attempt that ends before or after any of its steps, a repeated attempt has the same result."""

    def test_exception_at_each_step(self) -> None:
        self.interrupt_each_step(self.attempt_with_exception)

    def test_process_death_at_each_step(self) -> None:
        self.interrupt_each_step(self.attempt_in_dying_process)

    def attempt_with_exception(self, fixture: FinishFixture, name: str, call: int, after: bool) -> bool:
        patcher = self.inject(name, call, after, raise_error)
        result = maybeDeferred(Deferred.fromCoroutine, fixture.finisher(JOB))
        patcher.restore()
        if isinstance(getattr(result, "result", None), Failure):
            self.failureResultOf(result, InjectedError)
            return True
        self.successResultOf(result)
        return False

    def attempt_in_dying_process(self, fixture: FinishFixture, name: str, call: int, after: bool) -> bool:
        child = os.fork()
        if child == 0:
            self.inject(name, call, after, exit_process)
            Deferred.fromCoroutine(fixture.finisher(JOB))
            os._exit(0)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == INJECTED_EXIT

    def inject(self, name: str, call: int, after: bool, end_attempt: Callable[[], None]) -> MonkeyPatcher:
        """Run ``end_attempt`` before or after the ``call``-th call of a step."""
        owner = STEPS[name]
        step = getattr(owner, name)
        calls = 0

        def wrapper(*args: object, **kwargs: object) -> object:
            nonlocal calls
            calls += 1
            if calls == call and not after:
                end_attempt()
            result = step(*args, **kwargs)
            return end_after(result) if calls == call else result

        def end_after(result: object) -> object:
            if isinstance(result, Coroutine):
                return await_and_end(result)
            end_attempt()
            return result

        async def await_and_end(step_call: Coroutine[object, object, None]) -> None:
            await step_call
            end_attempt()

        patcher: MonkeyPatcher = self.patch(owner, name, wrapper)
        return patcher

    def interrupt_each_step(self, attempt: Callable[[FinishFixture, str, int, bool], bool]) -> None:
        interrupted = set()
        incomplete_header = b"RIFF\0\0\0\0" + wav_header()[8:40] + b"\0\0\0\0"
        scenarios: dict[str, tuple[Leg, Leg]] = {
            "normal": (tone(440, 3), incomplete_header + tone(880, 3).tobytes() + b"\1"),
            "silent": (silence(3), None),
            "empty": (b"", wav_header()),
            "unreadable": (tone(440, 3), b"no audio" * 99),
        }
        for scenario, scenario_legs in scenarios.items():
            undisturbed = FinishFixture(self.base / scenario)
            undisturbed.write_legs(*scenario_legs)
            self.run_job(undisturbed)
            for name, call, after in itertools.product(STEPS, (1, 2), (False, True)):
                label = f"{scenario}-{name}-{call}-{'after' if after else 'before'}"
                fixture = FinishFixture(self.base / label)
                fixture.write_legs(*scenario_legs)
                before = sorted(fixture.spool.iterdir())
                if attempt(fixture, name, call, after):
                    interrupted.add((name, after))
                self.assert_nothing_is_lost(fixture, before, label)
                self.run_job(fixture)
                self.assertEqual(fixture.snapshot(), undisturbed.snapshot(), label)
        self.assertEqual(interrupted, set(itertools.product(STEPS, (False, True))), "not every step was called")

    def assert_nothing_is_lost(self, fixture: FinishFixture, before: list[Path], label: str) -> None:
        row = fixture.recordings.row
        if row.state is RecordingState.PROCESSING:
            self.assertEqual(
                sorted(fixture.spool.iterdir()), before, f"{label}: a leg was deleted before the row was stored"
            )
        elif row.path is not None:
            self.assertTrue((fixture.root / row.path).exists(), f"{label}: the row was stored before the file")
