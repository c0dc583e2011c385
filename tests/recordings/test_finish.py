"""Tests of voxrec.recordings.finish."""

import os
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import msgspec
import numpy as np
import soundfile
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from twisted.trial.unittest import TestCase

from tests.audio.fixtures import Samples, constant, silence, tone
from tests.audio.mix_monitor import arrive, mix_monitor, speech
from tests.recordings.finish_fixtures import (
    ENDED_CALL,
    ID,
    JOB,
    NOW,
    PATH,
    STARTED_AT,
    FinishFixture,
    FinishTestCase,
    call_directly,
    wav_header,
)
from tests.subtest import subtest
from voxrec.archive.interface import ArchiveUnavailable
from voxrec.audio.pcm_wav import make_header
from voxrec.errors import Conflict, InvalidInput, NotFound, Unavailable
from voxrec.model import (
    ANNOUNCEMENT_FAILED,
    JobKind,
    Recording,
    RecordingState,
    Side,
    StoredObject,
    TimelineEntry,
    Verdict,
    leg_name,
)
from voxrec.recordings.finish import Finisher
from voxrec.recordings.results import FinishedResults
from voxrec.recordings.work_files import WorkFilesUnavailable


class FullDiskTests(FinishTestCase):
    """The file system of the work directory, a real one, is full: that of the archive."""

    def setUp(self) -> None:
        super().setUp()
        if os.geteuid():
            self.skipTest("mount(2) needs root")
        self.mount("-t", "tmpfs", "-o", "size=64k", "tmpfs")
        self.addCleanup(subprocess.run, ["umount", str(self.fixture.work)], check=True)
        self.messages: list[str] = []
        observer = cast("ILogObserver", self.observe)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        globalLogPublisher.addObserver(observer)

    def mount(self, *options: str) -> None:
        subprocess.run(["mount", *options, str(self.fixture.work)], check=True)  # noqa: S603, S607

    def observe(self, event: LogEvent) -> None:
        if event["log_level"] in (LogLevel.info, LogLevel.error, LogLevel.critical):
            self.messages.append(formatEvent(event))

    def test_it_is_logged_once_and_retried(self) -> None:
        for format_ in ("wav", "flac", "g722"):
            with subtest(format_):
                self.fixture.update_recording(format=format_, state=RecordingState.PROCESSING)
                noise = np.random.default_rng(3).integers(-9000, 9000, 400_000, dtype=np.int16)
                self.fixture.write_legs(noise, noise)
                for _ in range(2):
                    error = self.run_failing_job(WorkFilesUnavailable)
                    self.assertRegex(str(error), rf"{self.fixture.work}: .*\([\d,]+ of 65,536 bytes are free\)")
                    self.assertEqual(list(self.fixture.work.iterdir()), [])
                (message,) = self.messages
                self.assertIn(f"their files are kept in {self.fixture.spool}, and finishing is retried", message)
                self.mount("-o", "remount,size=8m")
                self.assertEqual(self.run_job().state, RecordingState.COMPLETED)
                self.assertEqual(
                    self.messages[1:], [f"{self.fixture.work} can be written again; recordings are finished"]
                )
                self.mount("-o", "remount,size=64k")
                self.messages.clear()


class CompletedTests(FinishTestCase):
    def test_two_legs_are_joined_and_archived(self) -> None:
        caller, callee = tone(440, 3), tone(880, 3)
        self.fixture.write_legs(caller, callee)
        done = self.run_job()
        archived = self.fixture.root / PATH
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
        self.assertEqual(self.fixture.recordings.follow_up_jobs, ["mail"])
        self.assertEqual(list(self.fixture.spool.iterdir()), [])
        self.assertEqual(list(self.fixture.work.iterdir()), [])

    def test_digest_is_that_of_the_archived_file(self) -> None:
        self.fixture.write_legs(tone(440, 3), tone(880, 3))
        done = self.run_job()
        stored = self.fixture.archive.put(self.fixture.root / PATH, ID, STARTED_AT, "wav")
        self.assertEqual(done.sha256, stored.sha256)

    def test_other_fields_are_kept(self) -> None:
        self.fixture.update_recording(metadata={"ticket": 7}, from_="+4930123", hangup_cause=16)
        self.fixture.write_legs(tone(440, 3), tone(880, 3))
        done = self.run_job()
        self.assertEqual((done.metadata, done.from_, done.hangup_cause), ({"ticket": 7}, "+4930123", 16))

    def test_one_channel_has_the_mix(self) -> None:
        self.fixture.update_recording(channels=1)
        self.fixture.write_legs(tone(440, 3, 4000), tone(880, 3, 4000))
        self.run_job()
        samples, _ = soundfile.read(self.fixture.root / PATH, dtype="int16")
        np.testing.assert_array_equal(samples, tone(440, 3, 4000) + tone(880, 3, 4000))

    def test_format_of_the_recording_is_used(self) -> None:
        self.fixture.update_recording(format="flac")
        self.fixture.write_legs(tone(440, 3), tone(880, 3))
        done = self.run_job()
        self.assertEqual(done.path, PATH.replace(".wav", ".flac"))
        self.assertEqual(soundfile.info(self.fixture.root / str(done.path)).format, "FLAC")

    def test_unknown_format_keeps_the_legs(self) -> None:
        self.fixture.update_recording(format="wax")
        self.fixture.write_legs(tone(440, 3), tone(880, 3))
        self.run_failing_job(InvalidInput)
        self.assertEqual(len(list(self.fixture.spool.iterdir())), 2)

    def test_incomplete_header_is_repaired(self) -> None:
        self.fixture.write_legs(tone(440, 3), tone(880, 3))
        leg = self.fixture.leg(Side.CALLER)
        content = leg.read_bytes()
        leg.write_bytes(b"RIFF\0\0\0\0" + content[8:40] + b"\0\0\0\0" + content[44:])
        done = self.run_job()
        assert done.verdict is not None
        self.assertTrue(done.verdict.repaired)
        self.assertTrue(done.verdict.ok)
        self.assertEqual(done.duration, 3.0)

    def test_single_leg_is_completed_with_a_reason(self) -> None:
        self.fixture.write_legs(callee=tone(880, 3))
        self.assertEqual(self.run_job().state, RecordingState.COMPLETED)
        self.assertEqual(self.verdict_reasons(), ("one-way audio: caller empty",))
        self.assertEqual(self.fixture.recordings.follow_up_jobs, ["mail"])

    def test_legs_shorter_than_the_call_are_truncated(self) -> None:
        self.fixture.update_recording(ended_at=STARTED_AT + timedelta(seconds=60))
        self.fixture.write_legs(tone(440, 3), tone(880, 3))
        self.run_job()
        self.assertEqual(self.verdict_reasons(), ("truncated",))

    def test_unreadable_leg_is_reported_and_kept(self) -> None:
        invalid = b"this is not audio" * 50
        self.fixture.write_legs(tone(440, 3), invalid)
        self.assertEqual(self.run_job().state, RecordingState.COMPLETED)
        self.assertEqual(len(self.flushLoggedErrors()), 0)
        self.assertEqual(self.verdict_reasons(), ("unreadable: callee",))
        self.assertEqual([path.name for path in self.fixture.spool.iterdir()], [f"{leg_name(ID, Side.CALLEE)}.wav"])
        self.run_job()
        self.assertEqual(self.fixture.leg(Side.CALLEE).read_bytes(), invalid)

    def test_quiet_noise_is_completed(self) -> None:
        noise = np.random.default_rng(3).normal(0, 32, 24000).astype(np.int16)
        self.fixture.write_legs(noise, silence(3))
        self.assertEqual(self.run_job().state, RecordingState.COMPLETED)
        self.assertEqual(self.verdict_reasons(), ("silent",))

    def test_path_without_start_time_is_by_creation_time(self) -> None:
        self.fixture.update_recording(started_at=None)
        self.fixture.write_legs(tone(440, 3), tone(880, 3))
        self.assertEqual(self.run_job().path, PATH)


class AnnouncementTests(FinishTestCase):
    def test_failed_announcement_is_a_reason(self) -> None:
        timeline = (
            TimelineEntry(at=0.1, event="announcement.started"),
            TimelineEntry(at=0.2, event=ANNOUNCEMENT_FAILED),
        )
        self.fixture.update_recording(timeline=timeline)
        self.fixture.write_legs(tone(440, 3), tone(880, 3))
        done = self.run_job()
        assert done.verdict is not None
        self.assertEqual(done.state, RecordingState.COMPLETED)
        self.assertEqual((done.verdict.ok, done.verdict.reasons), (False, ("announcement.failed",)))


class DisplacedTests(FinishTestCase):
    def test_audio_that_is_longer_than_a_call_whose_end_was_observed(self) -> None:
        ended_at = STARTED_AT + timedelta(seconds=2.5)
        for event, reasons, excess in (
            ("hangup", ("displaced: caller", "displaced: callee"), 0.5),
            ("beep", (), 0.0),  # ended_at is when the Recording was changed last
        ):
            self.fixture.update_recording(
                timeline=(TimelineEntry(at=2.5, event=event),),
                ended_at=ended_at,
                state=RecordingState.PROCESSING,
                verdict=None,
            )
            self.fixture.write_legs(tone(440, 3), tone(880, 3))
            done = self.run_job()
            assert done.verdict is not None
            self.assertEqual((done.verdict.reasons, done.verdict.excess_seconds), (reasons, excess))

    def test_packets_that_were_recorded_twice_are_removed(self) -> None:
        caller, callee = speech(8.0, 1), speech(8.0, 2)
        ended_at = STARTED_AT + timedelta(seconds=8.1)
        self.fixture.update_recording(timeline=(TimelineEntry(at=8.1, event="hangup"),), ended_at=ended_at)
        self.fixture.write_legs(*mix_monitor(arrive(caller, twice=10), arrive(callee)))
        done = self.run_job()
        assert done.verdict is not None
        assert done.verdict.caller is not None
        self.assertEqual((done.verdict.reasons, done.verdict.excess_seconds), ((), 0.0))
        self.assertEqual(done.verdict.caller.duplicate_seconds, 0.8)
        samples, _ = soundfile.read(self.fixture.root / PATH, dtype="int16")
        end = 7 * 8000
        expected = np.stack([np.concatenate(side) for side in (caller, callee)], axis=1)
        np.testing.assert_array_equal(samples[:end], expected[:end])
        self.assertApproximates(done.duration, 8.0, 0.081)

    def test_copies_in_place_of_lost_packets_are_kept(self) -> None:
        """Without them, the audio would be shorter than the call."""
        caller = speech(80.0, 1)
        for number in range(20, len(caller), 20):
            caller[number] = caller[number - 1]
        ended_at = STARTED_AT + timedelta(seconds=80.1)
        self.fixture.update_recording(timeline=(TimelineEntry(at=80.1, event="hangup"),), ended_at=ended_at)
        legs = mix_monitor(arrive(caller), arrive(speech(80.0, 2), lost=20))
        self.fixture.write_legs(*legs)
        done = self.run_job()
        assert done.verdict is not None
        assert done.verdict.caller is not None
        self.assertGreater(done.verdict.caller.duplicate_seconds, 3.0)
        samples, _ = soundfile.read(self.fixture.root / PATH, dtype="int16")
        np.testing.assert_array_equal(samples, np.stack(legs, axis=1))


class DamagedLegTests(FinishTestCase):
    """Whatever happened to the file of one side, the other one is complete."""

    def finish(self, damaged: bytes, whole: Samples) -> Recording:
        self.fixture = FinishFixture(self.base / str(len(list(self.base.iterdir()))))
        self.fixture.write_legs(damaged, whole)
        done = self.run_job()
        self.assertEqual(done.state, RecordingState.COMPLETED)
        samples, _ = soundfile.read(self.fixture.root / PATH, dtype="int16")
        np.testing.assert_array_equal(samples[: len(whole), 1], whole)
        return done

    def test_truncated_at_each_byte_of_its_header(self) -> None:
        whole = tone(440, 0.5)
        content = make_header(8000, 1, 8000) + tone(880, 0.5).tobytes()
        for size in range(52):
            done = self.finish(content[:size], whole)
            assert done.verdict is not None
            self.assertIn("one-way audio: caller " + ("silent" if size >= 46 else "empty"), done.verdict.reasons, size)
            self.assertIs(done.verdict.repaired, size >= 46)

    def test_a_header_of_another_length(self) -> None:
        whole = tone(440, 0.5)
        samples = tone(880, 0.5)
        for frames in (1, 3999, 4001, 1 << 30):
            done = self.finish(make_header(8000, 1, 2 * frames) + samples.tobytes(), whole)
            assert done.verdict is not None
            self.assertTrue(done.verdict.repaired)
            joined, _ = soundfile.read(self.fixture.root / PATH, dtype="int16")
            np.testing.assert_array_equal(joined[:, 0], samples)

    def test_each_byte_of_the_header(self) -> None:
        """A wrong byte is repaired, or makes the side unreadable; it does not make finishing fail."""
        whole = tone(440, 0.1)
        content = bytearray(make_header(8000, 1, 1600) + tone(880, 0.1).tobytes())
        for offset in range(44):
            for value in (content[offset] ^ 1, content[offset] ^ 0x80, 255 - content[offset]):
                damaged = content.copy()
                damaged[offset] = value
                self.finish(bytes(damaged), whole)
        self.flushLoggedErrors()

    def test_legs_of_very_different_lengths(self) -> None:
        done = self.finish(make_header(8000, 1, 2) + b"\1\0", tone(440, 100.0))
        self.assertEqual(done.duration, 100.0)


class AbsentTests(FinishTestCase):
    def test_legs_without_samples_are_absent(self) -> None:
        header = wav_header()
        for number, (caller, callee) in enumerate(
            [
                (None, None),
                (b"", None),
                (b"", b""),
                (header, header),
                (header[:20], None),
                (silence(0), b""),
                (header + b"\1", None),
            ]
        ):
            with self.subTest(number):
                self.fixture = FinishFixture(self.base / str(number))
                self.fixture.write_legs(caller, callee)
                done = self.run_job()
                self.assertEqual((done.state, done.path, done.size), (RecordingState.ABSENT, None, None))
                self.assertEqual(self.verdict_reasons(), ("empty",))
                self.assertEqual(self.fixture.recordings.follow_up_jobs, [])
                self.assertEqual(list(self.fixture.spool.iterdir()), [])
                self.assertEqual(list(self.fixture.root.iterdir()), [])

    def test_digital_silence_is_archived_and_not_mailed(self) -> None:
        for number, (caller, callee) in enumerate(
            [(silence(3), silence(3)), (silence(3), None), (constant(8, 3), constant(-8, 3))]
        ):
            with self.subTest(number):
                self.fixture = FinishFixture(self.base / str(number))
                self.fixture.write_legs(caller, callee)
                done = self.run_job()
                self.assertEqual((done.state, done.path, done.duration), (RecordingState.ABSENT, PATH, 3.0))
                self.assertEqual(self.verdict_reasons(), ("silent",))
                self.assertEqual(self.fixture.recordings.follow_up_jobs, [])
                self.assertTrue((self.fixture.root / PATH).exists())
                self.assertEqual(list(self.fixture.spool.iterdir()), [])

    def test_two_unreadable_legs_are_failed(self) -> None:
        self.fixture.write_legs(b"no audio" * 99, b"not audio either" * 99)
        self.assertEqual(self.run_job().state, RecordingState.FAILED)
        self.assertEqual(self.verdict_reasons(), ("unreadable: caller", "unreadable: callee"))
        self.assertEqual(self.fixture.recordings.follow_up_jobs, [])
        self.assertEqual(len(list(self.fixture.spool.iterdir())), 2)

    def test_silence_and_an_unreadable_leg_are_completed(self) -> None:
        self.fixture.write_legs(silence(3), b"no audio" * 99)
        self.assertEqual(self.run_job().state, RecordingState.COMPLETED)
        self.assertEqual(self.verdict_reasons(), ("unreadable: callee", "silent"))

    def test_recording_rejected_by_the_call_is_deleted(self) -> None:
        self.fixture.update_recording(verdict=Verdict(ok=False, reasons=("announcement.failed",)))
        self.fixture.write_legs(tone(440, 3), tone(880, 3))
        done = self.run_job()
        self.assertEqual((done.state, done.path), (RecordingState.ABSENT, None))
        self.assertEqual(self.verdict_reasons(), ("announcement.failed",))
        self.assert_all_files_deleted()

    def test_recording_without_its_required_announcement_is_deleted(self) -> None:
        """No process saw the end of the call, so that nothing but the row says that the audio must not be kept."""
        self.fixture.update_recording(prompt_played=False)
        self.fixture.write_legs(tone(440, 3), tone(880, 3))
        quarantined = self.fixture.spool / "orphans" / self.fixture.leg(Side.CALLER).name
        quarantined.parent.mkdir()
        quarantined.write_bytes(b"speech")
        (self.fixture.work / f"{ID}-earlier-attempt-joined.wav").write_bytes(b"speech")
        done = self.run_job()
        self.assertEqual((done.state, done.path), (RecordingState.ABSENT, None))
        self.assertEqual(self.verdict_reasons(), ("announcement.failed",))
        quarantined.parent.rmdir()
        self.assert_all_files_deleted()

    def test_audio_that_must_not_be_kept_is_deleted_once_the_spool_is_available(self) -> None:
        self.fixture.update_recording(prompt_played=False)
        self.fixture.write_legs(tone(440, 3), tone(880, 3))
        elsewhere = self.fixture.spool.rename(self.fixture.spool.with_name("not-mounted"))
        self.run_failing_job(Unavailable)
        elsewhere.rename(self.fixture.spool)
        self.assertEqual(self.run_job().state, RecordingState.ABSENT)
        self.assert_all_files_deleted()

    def test_recording_after_its_required_announcement_is_kept(self) -> None:
        self.fixture.update_recording(prompt_played=True)
        self.fixture.write_legs(tone(440, 3), tone(880, 3))
        self.assertEqual(self.run_job().state, RecordingState.COMPLETED)

    def test_recording_below_the_minimum_duration_is_deleted(self) -> None:
        for min_seconds, kept in ((3, True), (4, False)):
            with self.subTest(min_seconds):
                self.fixture = FinishFixture(self.base / str(min_seconds))
                self.fixture.update_recording(min_duration_seconds=min_seconds)
                self.fixture.write_legs(tone(440, 3), tone(880, 2))
                done = self.run_job()
                self.assertEqual(done.state, RecordingState.COMPLETED if kept else RecordingState.ABSENT)
                if not kept:
                    self.assertEqual(self.verdict_reasons(), ("shorter than minDurationSeconds (4 s)",))
                    self.assert_all_files_deleted()

    def test_unreadable_leg_is_not_too_short(self) -> None:
        self.fixture.update_recording(min_duration_seconds=10)
        self.fixture.write_legs(tone(440, 3), b"no audio" * 99)
        self.assertEqual(self.run_job().state, RecordingState.COMPLETED)

    def assert_all_files_deleted(self) -> None:
        self.assertEqual(self.fixture.recordings.follow_up_jobs, [])
        for directory in (self.fixture.spool, self.fixture.root, self.fixture.work):
            self.assertEqual(list(directory.iterdir()), [])


class SampleRateTests(FinishTestCase):
    def test_wide_band_legs_with_another_suffix_stay_wide_band(self) -> None:
        for side in Side:
            soundfile.write(
                self.fixture.leg(side).with_suffix(".wav16"), tone(5000, 3, rate=16000), 16000, format="WAV"
            )
        self.assertEqual(self.run_job().duration, 3.0)
        self.assertEqual(soundfile.info(self.fixture.root / PATH).samplerate, 16000)
        self.assertEqual(list(self.fixture.spool.iterdir()), [])

    def test_legs_of_two_rates_are_joined_at_the_higher(self) -> None:
        self.fixture.write_legs(tone(440, 3))
        wide = tone(440, 3, rate=16000)
        soundfile.write(self.fixture.leg(Side.CALLEE), wide, 16000)
        self.run_job()
        samples, rate = soundfile.read(self.fixture.root / PATH, dtype="int16")
        self.assertEqual((rate, len(samples)), (16000, 48000))
        np.testing.assert_array_equal(samples[:, 1], wide)
        self.assertLess(np.abs(samples[2000:-2000, 0].astype(int) - wide[2000:-2000]).max(), 20)

    def test_mono_format_has_the_mix(self) -> None:
        """REST refuses two channels with such a format, but older Profiles have it."""
        self.fixture.update_recording(format="g726-32")
        self.fixture.write_legs(tone(440, 3), tone(880, 3))
        done = self.run_job()
        self.assertEqual((done.state, done.channels), (RecordingState.COMPLETED, 1))
        self.assertEqual(done.path, PATH.replace(".wav", ".g726-32"))


class PauseTests(FinishTestCase):
    def test_skipped_pause_is_cut(self) -> None:
        caller = np.concatenate((tone(440, 2), silence(3), tone(440, 2)))
        callee = np.concatenate((tone(880, 2), silence(3), tone(880, 2)))
        timeline = (
            TimelineEntry(at=2.1, event="paused", by="api", detail="skip"),
            TimelineEntry(at=5.1, event="resumed", by="api"),
        )
        self.fixture.update_recording(timeline=timeline, ended_at=STARTED_AT + timedelta(seconds=7.2))
        self.fixture.write_legs(caller, callee)
        done = self.run_job()
        self.assertEqual(self.verdict_reasons(), ())
        samples, _ = soundfile.read(self.fixture.root / PATH, dtype="int16")
        # the last sample of the tone is zero, so it may be cut with the pause
        self.assertApproximates(len(samples), 32000, 2)
        self.assertEqual(done.duration, len(samples) / 8000)
        self.assertEqual(np.count_nonzero(samples), np.count_nonzero(np.stack((caller, callee))))


class TemporaryErrorTests(FinishTestCase):
    """If another attempt may succeed, the job fails and the Recording is unchanged."""

    def assert_unchanged(self) -> None:
        self.assertEqual(self.fixture.recordings.row.state, ENDED_CALL.state)
        self.assertEqual(self.fixture.recordings.follow_up_jobs, [])

    def test_unknown_recording(self) -> None:
        job = msgspec.structs.replace(JOB, recording_id=UUID(int=9))
        self.failureResultOf(Deferred.fromCoroutine(self.fixture.finisher(job)), NotFound)

    def test_recording_deleted_during_the_attempt(self) -> None:
        """The archived file must not remain without a row."""
        self.fixture.write_legs(tone(440, 3), tone(880, 3))
        produce = Finisher._produce

        def produce_and_delete_row(finisher: Finisher, recording: Recording) -> Recording:
            result = produce(finisher, recording)
            self.assertTrue((self.fixture.root / PATH).exists())
            self.fixture.recordings.delete()
            return result

        self.patch(Finisher, "_produce", produce_and_delete_row)
        self.run_failing_job(NotFound)
        self.assertFalse((self.fixture.root / PATH).exists())

    def test_missing_spool(self) -> None:
        self.fixture.spool.rmdir()
        self.run_failing_job(Unavailable)
        self.assert_unchanged()

    def test_call_in_progress(self) -> None:
        self.fixture.update_recording(ended_at=None)
        self.fixture.write_legs(tone(440, 3), tone(880, 3))
        self.run_failing_job(Conflict)
        self.assert_unchanged()
        self.assertEqual(len(list(self.fixture.spool.iterdir())), 2)

    def test_permission_error(self) -> None:
        self.fixture.write_legs(tone(440, 3), tone(880, 3))
        os_open = os.open

        def fail_for_caller(path: Any, *args: Any, **kwargs: Any) -> int:
            if path == self.fixture.leg(Side.CALLER):
                raise PermissionError(13, os.strerror(13))
            return os_open(path, *args, **kwargs)

        self.patch(os, "open", fail_for_caller)
        self.run_failing_job(PermissionError)
        self.assert_unchanged()

    def test_missing_archive(self) -> None:
        self.fixture.write_legs(tone(440, 3), tone(880, 3))
        self.fixture.root.rmdir()
        self.run_failing_job(ArchiveUnavailable)
        self.assert_unchanged()
        self.assertEqual(len(list(self.fixture.spool.iterdir())), 2)
        self.assertEqual(list(self.fixture.work.iterdir()), [])


class RepeatTests(FinishTestCase):
    def test_repeated_job_changes_nothing(self) -> None:
        self.fixture.write_legs(tone(440, 3), tone(880, 3))
        self.run_job()
        before = self.fixture.snapshot()
        self.fixture.clock.advance(60)
        self.run_job()
        self.assertEqual(self.fixture.snapshot(), before)

    def test_legs_are_kept_while_the_archive_has_no_file(self) -> None:
        self.fixture.write_legs(tone(440, 3), tone(880, 3))
        self.fixture.update_recording(state=RecordingState.COMPLETED, path=PATH)
        self.run_job()
        self.assertEqual(len(list(self.fixture.spool.iterdir())), 2)
        self.fixture.archive.put(self.fixture.leg(Side.CALLEE), ID, STARTED_AT, "wav")
        self.run_job()
        self.assertEqual(list(self.fixture.spool.iterdir()), [])

    def test_legs_of_a_recording_that_is_uploaded_at_once_are_deleted(self) -> None:
        """The upload job may have deleted the archived file before its leg files are."""
        complete = self.fixture.recordings.complete

        async def complete_and_upload(recording: Recording, follow_up: Sequence[JobKind], /) -> None:
            await complete(recording, follow_up)
            stored = StoredObject(bucket="recordings", key="a.wav", stored_at=NOW)
            self.fixture.update_recording(stored_object=stored)
            (self.fixture.root / PATH).unlink()

        self.patch(self.fixture.recordings, "complete", complete_and_upload)
        self.fixture.write_legs(tone(440, 3), tone(880, 3))
        self.assertEqual(self.run_job().state, RecordingState.COMPLETED)
        self.assertEqual(list(self.fixture.spool.iterdir()), [])

    def test_legs_of_a_recording_that_is_deleted_at_once_are_left_to_its_erase_job(self) -> None:
        complete = self.fixture.recordings.complete

        async def complete_and_delete(recording: Recording, follow_up: Sequence[JobKind], /) -> None:
            await complete(recording, follow_up)
            self.fixture.recordings.delete()
            (self.fixture.root / PATH).unlink()

        self.patch(self.fixture.recordings, "complete", complete_and_delete)
        self.fixture.write_legs(tone(440, 3), tone(880, 3))
        self.run_failing_job(NotFound)

    def test_leg_with_audio_is_kept_if_the_recording_has_none(self) -> None:
        """An earlier attempt without these legs may have stored the state."""
        for state in (RecordingState.ABSENT, RecordingState.FAILED):
            with self.subTest(state):
                self.fixture.write_legs(tone(440, 3), b"")
                self.fixture.update_recording(state=state)
                self.run_job()
                self.assertEqual(list(self.fixture.spool.iterdir()), [self.fixture.leg(Side.CALLER)])
                self.assertEqual(self.fixture.recordings.row.state, state)

    def test_leg_with_audio_after_an_incomplete_header_is_kept(self) -> None:
        self.fixture.write_legs(b"RIFF\0\0\0\0" + wav_header()[8:40] + b"\0\0\0\0" + tone(440, 3).tobytes())
        self.fixture.update_recording(state=RecordingState.FAILED)
        self.run_job()
        self.assertTrue(self.fixture.leg(Side.CALLER).exists())

    def test_work_files_of_a_dead_attempt_are_deleted(self) -> None:
        self.fixture.write_legs(tone(440, 3), tone(880, 3))
        leftover, other = (
            self.fixture.work / f"{ID}-0123456789abcdef",
            self.fixture.work / f"{UUID(int=3)}-0123456789abcdef",
        )
        for directory in (leftover, other):
            directory.mkdir()
            (directory / "joined.wav").write_bytes(b"incomplete")
        (self.fixture.work / f"{ID}-0123456789abcdef-joined.wav").write_bytes(b"incomplete")
        self.run_job()
        self.assertEqual(list(self.fixture.work.iterdir()), [other])


class ThreadTests(TestCase):
    async def test_finish_in_a_thread(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        fixture = FinishFixture(Path(temporary.name))
        fixture.write_legs(tone(440, 3), tone(880, 3))
        await Finisher(fixture.clock, fixture.recordings, fixture.archive, fixture.spool, fixture.work, deferToThread)(
            JOB
        )
        self.assertEqual(fixture.recordings.row.state, RecordingState.COMPLETED)

    async def test_one_function_runs_in_a_thread_before_the_result_is_stored_and_one_after_it(self) -> None:
        """Each passage to a thread and back costs as much CPU as several of the steps there."""
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        fixture = FinishFixture(Path(temporary.name))
        fixture.write_legs(tone(440, 3), tone(880, 3))
        states: list[RecordingState] = []

        def note_and_call(function: Callable[..., Any], *args: Any) -> Deferred[Any]:
            states.append(fixture.recordings.row.state)
            return call_directly(function, *args)

        finisher = Finisher(
            fixture.clock,
            fixture.recordings,
            fixture.archive,
            fixture.spool,
            fixture.work,
            note_and_call,
            results=FinishedResults(Path(temporary.name, "finished"), 300.0),
        )
        await finisher(JOB)
        self.assertEqual(states, [RecordingState.PROCESSING, RecordingState.COMPLETED])
        self.assertEqual(list(fixture.spool.iterdir()), [])


class NodeTests(FinishTestCase):
    """A node draws no conclusion from files that it does not have."""

    def finish_on(self, node: str, *, peers: bool, of: str | None) -> FinishFixture:
        async def has_peers() -> bool:
            return peers

        fixture = self.fixture
        fixture.update_recording(node=of)
        fixture.finisher = Finisher(
            fixture.clock,
            fixture.recordings,
            fixture.archive,
            fixture.spool,
            fixture.work,
            call_directly,
            node=node,
            has_peers=has_peers,
        )
        return fixture

    def test_recording_of_another_node(self) -> None:
        self.finish_on("munich", peers=True, of="berlin")
        error = self.run_failing_job(Unavailable)
        self.assertIn("on node berlin, not munich", str(error))
        self.assertEqual(self.fixture.recordings.row.state, RecordingState.PROCESSING)

    def test_own_recording_without_audio_is_empty(self) -> None:
        self.finish_on("berlin", peers=True, of="berlin")
        self.assertEqual(self.run_job().state, RecordingState.ABSENT)

    def test_recording_of_an_earlier_version_is_not_empty_because_one_of_several_nodes_has_no_files(self) -> None:
        self.finish_on("munich", peers=True, of=None)
        error = self.run_failing_job(Unavailable)
        self.assertIn("not known which of the nodes", str(error))

    def test_recording_of_an_earlier_version_is_finished_where_its_files_are(self) -> None:
        fixture = self.finish_on("munich", peers=True, of=None)
        fixture.write_legs(tone(440, 3), tone(880, 3))
        self.assertEqual(self.run_job().state, RecordingState.COMPLETED)

    def test_recording_of_an_earlier_version_of_the_only_node(self) -> None:
        self.finish_on("berlin", peers=False, of=None)
        self.assertEqual(self.run_job().state, RecordingState.ABSENT)
