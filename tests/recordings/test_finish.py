"""Tests of voxrec.recordings.finish."""

import hashlib
import io
import itertools
import os
import tempfile
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ParamSpec, TypeVar
from uuid import UUID

import msgspec
import numpy as np
import soundfile
from numpy.typing import NDArray
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from twisted.python.monkey import MonkeyPatcher
from twisted.trial.unittest import SynchronousTestCase, TestCase

import voxrec.recordings.finish as module
from tests.audio.fixtures import constant, silence, tone
from voxrec.archive.interface import ArchiveUnavailable
from voxrec.archive.local import LocalArchive
from voxrec.errors import AudioError, Conflict, InvalidInput, NotFound, Unavailable
from voxrec.model import (
    Job,
    JobKind,
    JobState,
    Recording,
    RecordingState,
    Side,
    TimelineEntry,
    Verdict,
    leg_name,
)
from voxrec.recordings.finish import Finisher

P = ParamSpec("P")
R = TypeVar("R")

ID = UUID("7f1f4f0e-1c39-4a64-8f27-4dbd6f8d8a11")
BEGAN = datetime(2026, 5, 6, 7, 8, 9, tzinfo=UTC)
NOW = datetime(2026, 5, 6, 7, 10, tzinfo=UTC)
PATH = f"2026/05/06/{ID}.wav"
ENDED_CALL = Recording(
    id=ID,
    profile_id=UUID(int=1),
    state=RecordingState.PROCESSING,
    channels=2,
    started_at=BEGAN,
    ended_at=BEGAN + timedelta(seconds=3.2),
    created_at=BEGAN,
    updated_at=BEGAN,
)
JOB = Job(
    id=UUID(int=1),
    kind=JobKind.FINISH,
    recording_id=ID,
    state=JobState.RUNNING,
    attempts=1,
    due_at=BEGAN,
    created_at=BEGAN,
)


class PersistentRecordings:
    """A store of one row in a file: like PostgreSQL it outlives the process that wrote it."""

    def __init__(self, directory: Path) -> None:
        self._row = directory / "recording.json"
        self._jobs = directory / "jobs"

    @property
    def jobs(self) -> list[str]:
        return self._jobs.read_text().split() if self._jobs.exists() else []

    @property
    def row(self) -> Recording:
        return msgspec.json.decode(self._row.read_bytes(), type=Recording)

    def write(self, recording: Recording) -> None:
        self._row.write_bytes(msgspec.json.encode(recording))

    async def get(self, recording_id: UUID, /) -> Recording:
        if not self._row.exists() or self.row.id != recording_id:
            raise NotFound(f"no recording {recording_id}")
        return self.row

    def delete(self) -> None:
        self._row.unlink()

    async def complete(self, recording: Recording, follow_up: Sequence[JobKind], /) -> None:
        await self.get(recording.id)
        self.write(recording)
        with self._jobs.open("a") as file:
            file.writelines(f"{kind}\n" for kind in follow_up)


Leg = NDArray[np.int16] | bytes | None


def header() -> bytes:
    """What Asterisk's file is before its first sample."""
    file = io.BytesIO()
    soundfile.write(file, silence(0), 8000, format="WAV", subtype="PCM_16")
    return file.getvalue()


def at_once(f: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Deferred[R]:
    """``deferToThread`` without the thread."""
    return maybeDeferred(f, *args, **kwargs)


class House:
    """A spool, an archive, a work directory and a store, in a directory of their own."""

    def __init__(self, base: Path) -> None:
        self.spool, self.root, self.work = (base / name for name in ("spool", "archive", "work"))
        for directory in (self.spool, self.root, self.work):
            directory.mkdir(parents=True)
        self.archive = LocalArchive(self.root)
        self.recordings = PersistentRecordings(base)
        self.recordings.write(ENDED_CALL)
        self.clock = Clock()
        self.clock.advance(NOW.timestamp())
        self.finish = Finisher(self.clock, self.recordings, self.archive, self.spool, self.work, at_once)

    def leg(self, side: Side) -> Path:
        return self.spool / f"{leg_name(ID, side)}.wav"

    def record(self, caller: Leg = None, callee: Leg = None) -> None:
        """Put the leg files there, of samples or of bytes as they are."""
        for side, content in ((Side.CALLER, caller), (Side.CALLEE, callee)):
            if isinstance(content, bytes):
                self.leg(side).write_bytes(content)
            elif content is not None:
                soundfile.write(self.leg(side), content, 8000, subtype="PCM_16")

    def change(self, **fields: object) -> None:
        self.recordings.write(msgspec.structs.replace(self.recordings.row, **fields))

    def end(self) -> tuple[object, ...]:
        """Everything that a repetition could have spoilt."""
        archived = {
            str(path.relative_to(self.root)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in self.root.rglob("*")
            if path.is_file()
        }
        return (
            self.recordings.row,
            self.recordings.jobs,
            archived,
            sorted(path.name for path in self.spool.iterdir()),
            sorted(path.name for path in self.work.iterdir()),
        )


class FinishTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        held = tempfile.TemporaryDirectory()
        self.addCleanup(held.cleanup)
        self.base = Path(held.name)
        self.house = House(self.base / "house")

    def run_job(self, house: House | None = None) -> Recording:
        house = house or self.house
        self.successResultOf(Deferred.fromCoroutine(house.finish(JOB)))
        return house.recordings.row

    def failing(self, *kinds: type[Exception]) -> Exception:
        failure = self.failureResultOf(Deferred.fromCoroutine(self.house.finish(JOB)), *kinds)
        assert isinstance(failure.value, Exception)
        return failure.value

    def reasons(self) -> tuple[str, ...]:
        verdict = self.house.recordings.row.verdict
        assert verdict is not None
        self.assertEqual(verdict.ok, not verdict.reasons)
        return verdict.reasons


class CompletedTests(FinishTestCase):
    def test_two_legs_become_a_recording(self) -> None:
        caller, callee = tone(440, 3), tone(880, 3)
        self.house.record(caller, callee)
        done = self.run_job()
        archived = self.house.root / PATH
        self.assertEqual(
            (done.state, done.path, done.duration, done.size, done.updated_at),
            (RecordingState.COMPLETED, PATH, 3.0, archived.stat().st_size, NOW),
        )
        assert done.verdict is not None
        self.assertTrue(done.verdict.ok)
        self.assertFalse(done.verdict.repaired)
        samples, rate = soundfile.read(archived, dtype="int16")
        self.assertEqual(rate, 8000)
        np.testing.assert_array_equal(samples, np.stack((caller, callee), axis=1))
        self.assertEqual(self.house.recordings.jobs, ["mail"])
        self.assertEqual(list(self.house.spool.iterdir()), [])
        self.assertEqual(list(self.house.work.iterdir()), [])

    def test_the_digest_is_that_of_the_archived_file(self) -> None:
        self.house.record(tone(440, 3), tone(880, 3))
        done = self.run_job()
        stored = self.house.archive.put(self.house.root / PATH, ID, BEGAN, "wav")
        self.assertEqual(done.sha256, stored.sha256)

    def test_what_was_known_before_stays(self) -> None:
        self.house.change(metadata={"ticket": 7}, from_="+4930123", hangup_cause=16)
        self.house.record(tone(440, 3), tone(880, 3))
        done = self.run_job()
        self.assertEqual((done.metadata, done.from_, done.hangup_cause), ({"ticket": 7}, "+4930123", 16))

    def test_one_channel_is_a_mix(self) -> None:
        self.house.change(channels=1)
        self.house.record(tone(440, 3, 4000), tone(880, 3, 4000))
        self.run_job()
        samples, _ = soundfile.read(self.house.root / PATH, dtype="int16")
        np.testing.assert_array_equal(samples, tone(440, 3, 4000) + tone(880, 3, 4000))

    def test_the_profiles_format(self) -> None:
        self.house.change(format="flac")
        self.house.record(tone(440, 3), tone(880, 3))
        done = self.run_job()
        self.assertEqual(done.path, PATH.replace(".wav", ".flac"))
        self.assertEqual(soundfile.info(self.house.root / str(done.path)).format, "FLAC")

    def test_an_unknown_format_keeps_the_legs(self) -> None:
        self.house.change(format="wax")
        self.house.record(tone(440, 3), tone(880, 3))
        self.failing(InvalidInput)
        self.assertEqual(len(list(self.house.spool.iterdir())), 2)

    def test_a_header_that_was_never_finished(self) -> None:
        self.house.record(tone(440, 3), tone(880, 3))
        leg = self.house.leg(Side.CALLER)
        content = leg.read_bytes()
        leg.write_bytes(b"RIFF\0\0\0\0" + content[8:40] + b"\0\0\0\0" + content[44:])
        done = self.run_job()
        assert done.verdict is not None
        self.assertTrue(done.verdict.repaired)
        self.assertTrue(done.verdict.ok)
        self.assertEqual(done.duration, 3.0)

    def test_one_leg_alone_is_kept_and_told(self) -> None:
        self.house.record(callee=tone(880, 3))
        self.assertEqual(self.run_job().state, RecordingState.COMPLETED)
        self.assertEqual(self.reasons(), ("one-way audio: caller empty",))
        self.assertEqual(self.house.recordings.jobs, ["mail"])

    def test_shorter_than_the_call(self) -> None:
        self.house.change(ended_at=BEGAN + timedelta(seconds=60))
        self.house.record(tone(440, 3), tone(880, 3))
        self.run_job()
        self.assertEqual(self.reasons(), ("truncated",))

    def test_a_leg_that_cannot_be_read_is_told_and_kept(self) -> None:
        junk = b"this is no audio at all" * 50
        self.house.record(tone(440, 3), junk)
        self.assertEqual(self.run_job().state, RecordingState.COMPLETED)
        self.assertEqual(len(self.flushLoggedErrors()), 0)
        self.assertEqual(self.reasons(), ("unreadable: callee",))
        self.assertEqual([path.name for path in self.house.spool.iterdir()], [f"{leg_name(ID, Side.CALLEE)}.wav"])
        self.run_job()
        self.assertEqual(self.house.leg(Side.CALLEE).read_bytes(), junk)

    def test_quiet_noise_is_not_thrown_away(self) -> None:
        noise = np.random.default_rng(3).normal(0, 32, 24000).astype(np.int16)
        self.house.record(noise, silence(3))
        self.assertEqual(self.run_job().state, RecordingState.COMPLETED)
        self.assertEqual(self.reasons(), ("silent",))

    def test_without_a_known_beginning(self) -> None:
        self.house.change(started_at=None)
        self.house.record(tone(440, 3), tone(880, 3))
        self.assertEqual(self.run_job().path, PATH)


class AbsentTests(FinishTestCase):
    def test_nothing_was_recorded(self) -> None:
        hollow = header()
        for number, (caller, callee) in enumerate(
            [
                (None, None),
                (b"", None),
                (b"", b""),
                (hollow, hollow),
                (hollow[:20], None),
                (silence(0), b""),
                (hollow + b"\1", None),
            ]
        ):
            with self.subTest(number):
                self.house = House(self.base / str(number))
                self.house.record(caller, callee)
                done = self.run_job()
                self.assertEqual((done.state, done.path, done.size), (RecordingState.ABSENT, None, None))
                self.assertEqual(self.reasons(), ("empty",))
                self.assertEqual(self.house.recordings.jobs, [])
                self.assertEqual(list(self.house.spool.iterdir()), [])
                self.assertEqual(list(self.house.root.iterdir()), [])

    def test_digital_silence_is_archived_and_not_mailed(self) -> None:
        for number, (caller, callee) in enumerate(
            [(silence(3), silence(3)), (silence(3), None), (constant(8, 3), constant(-8, 3))]
        ):
            with self.subTest(number):
                self.house = House(self.base / str(number))
                self.house.record(caller, callee)
                done = self.run_job()
                self.assertEqual((done.state, done.path, done.duration), (RecordingState.ABSENT, PATH, 3.0))
                self.assertEqual(self.reasons(), ("silent",))
                self.assertEqual(self.house.recordings.jobs, [])
                self.assertTrue((self.house.root / PATH).exists())
                self.assertEqual(list(self.house.spool.iterdir()), [])

    def test_two_legs_that_nobody_can_read_are_a_failure(self) -> None:
        self.house.record(b"no audio" * 99, b"none here" * 99)
        self.assertEqual(self.run_job().state, RecordingState.FAILED)
        self.assertEqual(self.reasons(), ("unreadable: caller", "unreadable: callee"))
        self.assertEqual(self.house.recordings.jobs, [])
        self.assertEqual(len(list(self.house.spool.iterdir())), 2)

    def test_silence_beside_a_leg_that_nobody_can_read_is_not_absent(self) -> None:
        self.house.record(silence(3), b"no audio" * 99)
        self.assertEqual(self.run_job().state, RecordingState.COMPLETED)
        self.assertEqual(self.reasons(), ("unreadable: callee", "silent"))

    def test_what_the_call_says_must_not_be_kept(self) -> None:
        self.house.change(verdict=Verdict(ok=False, reasons=("announcement.failed",)))
        self.house.record(tone(440, 3), tone(880, 3))
        done = self.run_job()
        self.assertEqual((done.state, done.path), (RecordingState.ABSENT, None))
        self.assertEqual(self.reasons(), ("announcement.failed",))
        self.assert_nothing_is_kept()

    def test_shorter_than_the_profile_wants(self) -> None:
        for least, kept in ((3, True), (4, False)):
            with self.subTest(least):
                self.house = House(self.base / str(least))
                self.house.change(min_duration_seconds=least)
                self.house.record(tone(440, 3), tone(880, 2))
                done = self.run_job()
                self.assertEqual(done.state, RecordingState.COMPLETED if kept else RecordingState.ABSENT)
                if not kept:
                    self.assertEqual(self.reasons(), ("shorter than minDurationSeconds (4 s)",))
                    self.assert_nothing_is_kept()

    def test_what_nobody_can_read_is_not_too_short(self) -> None:
        self.house.change(min_duration_seconds=10)
        self.house.record(tone(440, 3), b"no audio" * 99)
        self.assertEqual(self.run_job().state, RecordingState.COMPLETED)

    def assert_nothing_is_kept(self) -> None:
        self.assertEqual(self.house.recordings.jobs, [])
        for directory in (self.house.spool, self.house.root, self.house.work):
            self.assertEqual(list(directory.iterdir()), [])


class WideTests(FinishTestCase):
    """Legs of 16 kHz, which Asterisk names otherwise."""

    def test_stay_wide(self) -> None:
        for side in Side:
            soundfile.write(self.house.leg(side).with_suffix(".wav16"), tone(5000, 3, rate=16000), 16000, format="WAV")
        self.assertEqual(self.run_job().duration, 3.0)
        self.assertEqual(soundfile.info(self.house.root / PATH).samplerate, 16000)
        self.assertEqual(list(self.house.spool.iterdir()), [])

    def test_legs_of_two_rates_meet_at_the_higher(self) -> None:
        self.house.record(tone(440, 3))
        wide = tone(440, 3, rate=16000)
        soundfile.write(self.house.leg(Side.CALLEE), wide, 16000)
        self.run_job()
        samples, rate = soundfile.read(self.house.root / PATH, dtype="int16")
        self.assertEqual((rate, len(samples)), (16000, 48000))
        np.testing.assert_array_equal(samples[:, 1], wide)
        self.assertLess(np.abs(samples[2000:-2000, 0].astype(int) - wide[2000:-2000]).max(), 20)

    def test_a_format_of_one_channel_gets_the_mix(self) -> None:
        """An older Profile can say so; REST refuses it now."""
        self.house.change(format="g726-32")
        self.house.record(tone(440, 3), tone(880, 3))
        done = self.run_job()
        self.assertEqual((done.state, done.channels), (RecordingState.COMPLETED, 1))
        self.assertEqual(done.path, PATH.replace(".wav", ".g726-32"))


class SkipTests(FinishTestCase):
    def test_a_pause_without_a_trace(self) -> None:
        caller = np.concatenate((tone(440, 2), silence(3), tone(440, 2)))
        callee = np.concatenate((tone(880, 2), silence(3), tone(880, 2)))
        timeline = (
            TimelineEntry(at=2.1, event="paused", by="api", detail="skip"),
            TimelineEntry(at=5.1, event="resumed", by="api"),
        )
        self.house.change(timeline=timeline, ended_at=BEGAN + timedelta(seconds=7.2))
        self.house.record(caller, callee)
        done = self.run_job()
        self.assertEqual(self.reasons(), ())
        samples, _ = soundfile.read(self.house.root / PATH, dtype="int16")
        # a tone of whole waves ends with what is nearly zero: at most that sample goes with the pause
        self.assertApproximates(len(samples), 32000, 2)
        self.assertEqual(done.duration, len(samples) / 8000)
        self.assertEqual(np.count_nonzero(samples), np.count_nonzero(np.stack((caller, callee))))


class NotYetTests(FinishTestCase):
    """What another attempt may cure is raised, and nothing is decided."""

    def unchanged(self) -> None:
        self.assertEqual(self.house.recordings.row.state, ENDED_CALL.state)
        self.assertEqual(self.house.recordings.jobs, [])

    def test_no_such_recording(self) -> None:
        job = msgspec.structs.replace(JOB, recording_id=UUID(int=9))
        self.failureResultOf(Deferred.fromCoroutine(self.house.finish(job)), NotFound)

    def test_the_recording_is_deleted_meanwhile(self) -> None:
        """What nobody knows of any more must not stay in the archive."""
        self.house.record(tone(440, 3), tone(880, 3))
        finished = Finisher._finished

        def and_deleted(finisher: Finisher, recording: Recording) -> Recording:
            result = finished(finisher, recording)
            self.assertTrue((self.house.root / PATH).exists())
            self.house.recordings.delete()
            return result

        self.patch(Finisher, "_finished", and_deleted)
        self.failing(NotFound)
        self.assertFalse((self.house.root / PATH).exists())

    def test_the_spool_is_not_there(self) -> None:
        self.house.spool.rmdir()
        self.failing(Unavailable)
        self.unchanged()

    def test_the_call_goes_on(self) -> None:
        self.house.change(ended_at=None)
        self.house.record(tone(440, 3), tone(880, 3))
        self.failing(Conflict)
        self.unchanged()
        self.assertEqual(len(list(self.house.spool.iterdir())), 2)

    def test_a_leg_may_not_be_read_now(self) -> None:
        self.house.record(tone(440, 3), tone(880, 3))
        opened = Path.open

        def refuse(path: Path, mode: str = "r", buffering: int = -1) -> object:
            if path == self.house.leg(Side.CALLER):
                raise PermissionError(13, os.strerror(13))
            return opened(path, mode, buffering)

        self.patch(Path, "open", refuse)
        self.failing(PermissionError)
        self.unchanged()

    def test_the_archive_is_not_there(self) -> None:
        self.house.record(tone(440, 3), tone(880, 3))
        self.house.root.rmdir()
        self.failing(ArchiveUnavailable)
        self.unchanged()
        self.assertEqual(len(list(self.house.spool.iterdir())), 2)
        self.assertEqual(list(self.house.work.iterdir()), [])


class RepeatedTests(FinishTestCase):
    def test_again_changes_nothing(self) -> None:
        self.house.record(tone(440, 3), tone(880, 3))
        self.run_job()
        end = self.house.end()
        self.house.clock.advance(60)
        self.run_job()
        self.assertEqual(self.house.end(), end)

    def test_legs_stay_while_the_archive_lacks_the_file(self) -> None:
        self.house.record(tone(440, 3), tone(880, 3))
        self.house.change(state=RecordingState.COMPLETED, path=PATH)
        self.run_job()
        self.assertEqual(len(list(self.house.spool.iterdir())), 2)
        self.house.archive.put(self.house.leg(Side.CALLEE), ID, BEGAN, "wav")
        self.run_job()
        self.assertEqual(list(self.house.spool.iterdir()), [])

    def test_audio_of_a_recording_without_a_file_stays(self) -> None:
        """Whoever called it absent or failed did not see these."""
        for state in (RecordingState.ABSENT, RecordingState.FAILED):
            with self.subTest(state):
                self.house.record(tone(440, 3), b"")
                self.house.change(state=state)
                self.run_job()
                self.assertEqual(list(self.house.spool.iterdir()), [self.house.leg(Side.CALLER)])
                self.assertEqual(self.house.recordings.row.state, state)

    def test_also_audio_behind_an_unfinished_header_stays(self) -> None:
        self.house.record(b"RIFF\0\0\0\0" + header()[8:40] + b"\0\0\0\0" + tone(440, 3).tobytes())
        self.house.change(state=RecordingState.FAILED)
        self.run_job()
        self.assertTrue(self.house.leg(Side.CALLER).exists())

    def test_what_a_dead_attempt_left_in_the_work_directory_goes(self) -> None:
        self.house.record(tone(440, 3), tone(880, 3))
        ours, theirs = self.house.work / f"{ID}-dead", self.house.work / f"{UUID(int=3)}-alive"
        for directory in (ours, theirs):
            directory.mkdir()
            (directory / "joined.wav").write_bytes(b"half")
        (self.house.work / f"{ID}-0123456789abcdef-joined.wav").write_bytes(b"half")
        self.run_job()
        self.assertEqual(list(self.house.work.iterdir()), [theirs])


class OvertakenTests(FinishTestCase):
    """An attempt whose lease ran out, and another that does all of the job while the first is at one of its steps."""

    def test_nobody_writes_into_the_others_file(self) -> None:
        for owner, name in ((module, "join"), (module, "make_verdict"), (LocalArchive, "put")):
            for other in (self.run_job, self.all_but_the_row):
                with self.subTest(name, other=other.__name__):
                    self.house = House(self.base / f"{name}-{other.__name__}")
                    self.house.record(tone(440, 3), tone(880, 3))
                    self.overtake(owner, name, other)
                    result = maybeDeferred(Deferred.fromCoroutine, self.house.finish(JOB))
                    if isinstance(getattr(result, "result", None), Failure):
                        self.failureResultOf(result, ArchiveUnavailable, AudioError)
                    self.run_job()
                    row = self.house.recordings.row
                    self.assertEqual((row.state, row.duration), (RecordingState.COMPLETED, 3.0))
                    archived = (self.house.root / PATH).read_bytes()
                    self.assertEqual((row.size, row.sha256), (len(archived), hashlib.sha256(archived).hexdigest()))
                    self.assertEqual([*self.house.work.iterdir(), *self.house.spool.iterdir()], [])

    def all_but_the_row(self) -> None:
        self.house.finish._finished(self.house.recordings.row)

    def overtake(self, owner: object, name: str, other: Callable[[], object]) -> None:
        step = getattr(owner, name)

        def overtaken(*args: object, **kwargs: object) -> object:
            patcher.restore()
            other()
            return step(*args, **kwargs)

        patcher: MonkeyPatcher = self.patch(owner, name, overtaken)


STEPS: dict[str, object] = {
    "needs_repair": module,
    "repair_header": module,
    "probe": module,
    "new": module._WorkFiles,
    "join": module,
    "make_verdict": module,
    "put": LocalArchive,
    "mkdir": Path,
    "rename": Path,
    "complete": PersistentRecordings,
    "locate": LocalArchive,
    "unlink": Path,
}


class Torn(Exception):
    """The end of an attempt."""


def tear() -> None:
    raise Torn


def die() -> None:
    """As a lost power supply would have it: nothing is cleaned up."""
    os._exit(DIED)


DIED = 9


class InterruptedTests(FinishTestCase):
    """An attempt that ends before or after any of its steps, and then a whole one: always the same end."""

    def test_by_an_error(self) -> None:
        self.each(self.torn_attempt)

    def test_by_the_death_of_the_process(self) -> None:
        self.each(self.deadly_attempt)

    def torn_attempt(self, house: House, name: str, call: int, done: bool) -> bool:
        torn = self.interrupted(name, call, done, tear)
        result = maybeDeferred(Deferred.fromCoroutine, house.finish(JOB))
        torn.restore()
        if isinstance(getattr(result, "result", None), Failure):
            self.failureResultOf(result, Torn)
            return True
        self.successResultOf(result)
        return False

    def deadly_attempt(self, house: House, name: str, call: int, done: bool) -> bool:
        child = os.fork()
        if child == 0:
            self.interrupted(name, call, done, die)
            Deferred.fromCoroutine(house.finish(JOB))
            os._exit(0)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == DIED

    def interrupted(self, name: str, call: int, done: bool, end: Callable[[], None]) -> MonkeyPatcher:
        """Make the ``call``-th use of a step run ``end``, before it does anything or when it is ``done``."""
        owner = STEPS[name]
        step = getattr(owner, name)
        uses = 0

        def torn(*args: object, **kwargs: object) -> object:
            nonlocal uses
            uses += 1
            if uses == call and not done:
                end()
            result = step(*args, **kwargs)
            return ending(result) if uses == call else result

        def ending(result: object) -> object:
            if isinstance(result, Coroutine):
                return settled(result)
            end()
            return result

        async def settled(settling: Coroutine[object, object, None]) -> None:
            await settling
            end()

        patcher: MonkeyPatcher = self.patch(owner, name, torn)
        return patcher

    def each(self, attempt: Callable[[House, str, int, bool], bool]) -> None:
        interrupted = set()
        unfinished = b"RIFF\0\0\0\0" + header()[8:40] + b"\0\0\0\0"
        scenarios: dict[str, tuple[Leg, Leg]] = {
            "sound": (tone(440, 3), unfinished + tone(880, 3).tobytes() + b"\1"),
            "silent": (silence(3), None),
            "empty": (b"", header()),
            "unreadable": (tone(440, 3), b"no audio" * 99),
        }
        for scenario, legs in scenarios.items():
            calm = House(self.base / scenario)
            calm.record(*legs)
            self.run_job(calm)
            for name, call, done in itertools.product(STEPS, (1, 2), (False, True)):
                label = f"{scenario}-{name}-{call}-{'after' if done else 'before'}"
                house = House(self.base / label)
                house.record(*legs)
                before = sorted(house.spool.iterdir())
                if attempt(house, name, call, done):
                    interrupted.add((name, done))
                self.assert_nothing_is_lost(house, before, label)
                self.run_job(house)
                self.assertEqual(house.end(), calm.end(), label)
        self.assertEqual(interrupted, set(itertools.product(STEPS, (False, True))), "not every step was met")

    def assert_nothing_is_lost(self, house: House, before: list[Path], label: str) -> None:
        row = house.recordings.row
        if row.state is RecordingState.PROCESSING:
            self.assertEqual(sorted(house.spool.iterdir()), before, f"{label}: a leg went before the row was written")
        elif row.path is not None:
            self.assertTrue((house.root / row.path).exists(), f"{label}: the row was written before the file")


class ThreadTests(TestCase):
    """With Twisted's own threads."""

    async def test_a_real_thread_does_as_well(self) -> None:
        held = tempfile.TemporaryDirectory()
        self.addCleanup(held.cleanup)
        house = House(Path(held.name))
        house.record(tone(440, 3), tone(880, 3))
        await Finisher(house.clock, house.recordings, house.archive, house.spool, house.work, deferToThread)(JOB)
        self.assertEqual(house.recordings.row.state, RecordingState.COMPLETED)
