"""Tests of voxrec.recordings.legs. The whole job is tested in tests.recordings.test_finish."""

import os
import struct
from pathlib import Path
from unittest import SkipTest
from uuid import UUID

import numpy as np

from tests.audio.fixtures import RATE, AudioTestCase, Samples, silence, tone
from voxrec.errors import Unavailable
from voxrec.model import Side, TimelineEntry, leg_name
from voxrec.recordings.legs import (
    Leg,
    align_legs,
    delete_leg,
    examine_leg,
    find_leg,
    leg_paths,
    may_contain_audio,
    require_spool,
)
from voxrec.recordings.work_files import WorkFiles

ID = UUID(int=1)


def speech(seconds: float, rate: int = RATE) -> Samples:
    """Return samples without a zero."""
    return np.where((samples := tone(440, seconds, rate=rate)) == 0, 1, samples).astype(np.int16)


class LegTestCase(AudioTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.work_files = WorkFiles(self.directory / "work", ID)
        self.work_files.__enter__()
        self.addCleanup(self.work_files.__exit__, None, None, None)

    def write_leg(self, content: bytes, suffix: str = "wav") -> Path:
        path = self.directory / f"{leg_name(ID, Side.CALLER)}.{suffix}"
        path.write_bytes(content)
        return path

    def wav(self, seconds: float) -> bytes:
        return self.write("valid.wav", tone(440, seconds)).read_bytes()


class FindTests(LegTestCase):
    def test_leg_with_each_suffix_is_found(self) -> None:
        for path in leg_paths(self.directory, ID, Side.CALLER):
            path.write_bytes(bytes(46))
            self.assertEqual(find_leg(self.directory, ID, Side.CALLER), path)
            path.unlink()

    def test_missing_leg_and_leg_without_a_sample(self) -> None:
        self.assertIsNone(find_leg(self.directory, ID, Side.CALLER))
        self.write_leg(bytes(45))
        self.assertIsNone(find_leg(self.directory, ID, Side.CALLER))

    def test_regular_file_is_preferred(self) -> None:
        narrow, wide = leg_paths(self.directory, ID, Side.CALLER)
        narrow.write_bytes(bytes(46))
        wide.symlink_to(narrow)
        self.assertEqual(find_leg(self.directory, ID, Side.CALLER), narrow)

    def test_missing_spool(self) -> None:
        require_spool(self.directory)
        self.assertRaises(Unavailable, require_spool, self.directory / "missing")


class ExamineTests(LegTestCase):
    def test_valid_file(self) -> None:
        path = self.write_leg(self.wav(1))
        leg = examine_leg(path, self.work_files)
        self.assertEqual((leg.audio, leg.repaired, leg.unreadable), (path, False, False))
        assert leg.info is not None
        self.assertEqual(leg.info.frames, RATE)

    def test_repair_does_not_change_the_original(self) -> None:
        content = self.wav(1)
        content = content[:4] + bytes(4) + content[8:40] + bytes(4) + content[44:]
        path = self.write_leg(content)
        leg = examine_leg(path, self.work_files)
        self.assertTrue(leg.repaired)
        self.assertNotEqual(leg.audio, path)
        self.assertEqual(path.read_bytes(), content)
        assert leg.info is not None
        self.assertEqual(leg.info.frames, RATE)

    def test_files_without_audio(self) -> None:
        self.assertEqual(examine_leg(None, self.work_files), Leg())
        self.assertIsNone(examine_leg(self.write_leg(self.wav(0)), self.work_files).audio)
        self.assertEqual(examine_leg(self.write_leg(b"not audio" * 9), self.work_files), Leg(unreadable=True))

    def test_header_that_is_damaged(self) -> None:
        """Such a leg must not keep the other one from being finished, or be resampled to gigabytes."""
        content = self.wav(1)
        for offset, field in (
            (22, struct.pack("<H", 2)),
            (22, struct.pack("<H", 0)),
            (24, struct.pack("<I", 1)),
            (24, struct.pack("<I", 0)),
            (24, struct.pack("<I", 0x40001F40)),
            (34, struct.pack("<H", 3)),
        ):
            path = self.write_leg(content[:offset] + field + content[offset + len(field) :])
            with self.subTest(offset=offset, field=field):
                self.assertEqual(examine_leg(path, self.work_files), Leg(unreadable=True))
                self.assertTrue(path.exists())

    def test_what_is_not_a_regular_file_is_unreadable_and_kept(self) -> None:
        """Another account can write to the spool: a link in it must not bring another file into a Recording."""
        other = self.directory / "other.wav"
        other.write_bytes(self.wav(1))
        incomplete = self.directory / "incomplete.wav"
        incomplete.write_bytes(other.read_bytes()[:40] + bytes(4) + other.read_bytes()[44:])
        path = self.directory / f"{leg_name(ID, Side.CALLER)}.wav"
        for make in (
            lambda: path.symlink_to(other),
            lambda: path.symlink_to(incomplete),
            lambda: path.symlink_to(self.directory / "missing"),
            lambda: path.symlink_to(path),
            lambda: os.mkfifo(path),
            lambda: path.mkdir(),
        ):
            make()
            self.assertEqual(find_leg(self.directory, ID, Side.CALLER), path)
            self.assertEqual(examine_leg(path, self.work_files), Leg(unreadable=True))
            self.assertTrue(may_contain_audio(path))
            delete_leg(path)
            if path.is_dir():
                self.flushLoggedErrors()
                path.rmdir()
            self.assertFalse(os.path.lexists(path))
        self.assertTrue(other.exists())
        self.assertTrue(incomplete.exists())

    def test_hard_link_of_another_account_is_unreadable(self) -> None:
        path = self.write_leg(self.wav(1))
        os.link(path, self.directory / "backup")
        self.assertEqual(examine_leg(path, self.work_files).audio, path)
        if os.getuid() != 0:
            raise SkipTest("only root can give a file to another account")
        os.chown(path, 12345, -1)
        self.assertEqual(examine_leg(path, self.work_files), Leg(unreadable=True))

    def test_may_contain_audio(self) -> None:
        header = self.wav(0)
        incomplete = header[:4] + bytes(4) + header[8:40] + bytes(4) + tone(440, 1).tobytes()
        for content, expected in (
            (b"", False),
            (header, False),
            (header + bytes(1), False),
            (self.wav(1), True),
            (incomplete, True),
            (b"not audio" * 9, True),
        ):
            with self.subTest(content[:50]):
                self.assertIs(may_contain_audio(self.write_leg(content)), expected)
        self.assertFalse(may_contain_audio(self.directory / "missing.wav"))


class AlignTests(LegTestCase):
    def test_legs_of_one_rate_are_unchanged(self) -> None:
        caller, callee = self.write("caller.wav", tone(440, 2)), self.write("callee.wav", tone(440, 1))
        legs = {side: examine_leg(path, self.work_files) for side, path in zip(Side, (caller, callee), strict=True)}
        aligned = align_legs(legs, (), self.work_files)
        self.assertEqual(dict(aligned.files), {Side.CALLER: caller, Side.CALLEE: callee})
        self.assertEqual((aligned.rate, aligned.duration, aligned.cut_seconds), (RATE, 2.0, 0.0))

    def test_legs_of_two_rates_are_resampled_to_the_higher(self) -> None:
        caller, callee = (
            self.write("caller.wav", tone(440, 2)),
            self.write("callee.wav", tone(440, 1, rate=16000), 16000),
        )
        legs = {side: examine_leg(path, self.work_files) for side, path in zip(Side, (caller, callee), strict=True)}
        aligned = align_legs(legs, (), self.work_files)
        self.assertEqual((aligned.rate, aligned.duration), (16000, 2.0))
        self.assertEqual(len(self.read(aligned.files[Side.CALLER])), 32000)
        self.assertEqual(aligned.files[Side.CALLEE], callee)

    def test_skipped_pauses_are_cut_from_legs_of_two_rates(self) -> None:
        """After resampling, the silence of a pause is not exactly zero, so the cuts are found before."""
        low, high = speech(2), speech(2, 16000)
        caller = self.write("caller.wav", np.concatenate((low, silence(3), low)))
        # the border of the pause is between two samples of the other leg
        callee = self.write("callee.wav", np.concatenate((high, silence(6), high[:1], high)), 16000)
        legs = {side: examine_leg(path, self.work_files) for side, path in zip(Side, (caller, callee), strict=True)}
        timeline = (TimelineEntry(at=2.0, event="paused", detail="skip"), TimelineEntry(at=5.0, event="resumed"))
        aligned = align_legs(legs, timeline, self.work_files)
        self.assertEqual((aligned.rate, aligned.cut_seconds), (16000, 3.0))
        self.assertAlmostEqual(aligned.duration, 4.0, places=3)
        remaining = {side: self.read(path)[:, 0] for side, path in aligned.files.items()}
        np.testing.assert_array_equal(remaining[Side.CALLEE], np.concatenate((high, high[:1], high)))
        self.assertEqual(len(remaining[Side.CALLER]), 4 * 16000)

    def test_skipped_pauses_are_cut(self) -> None:
        speech = np.where((samples := tone(440, 2)) == 0, 1, samples).astype(np.int16)
        caller = self.write("caller.wav", np.concatenate((speech, silence(3), speech)))
        callee = self.write("callee.wav", silence(7))
        legs = {side: examine_leg(path, self.work_files) for side, path in zip(Side, (caller, callee), strict=True)}
        timeline = (TimelineEntry(at=2.0, event="paused", detail="skip"), TimelineEntry(at=5.0, event="resumed"))
        aligned = align_legs(legs, timeline, self.work_files)
        self.assertEqual((aligned.rate, aligned.duration, aligned.cut_seconds), (RATE, 4.0, 3.0))
        self.assertEqual({len(self.read(path)) for path in aligned.files.values()}, {4 * RATE})
