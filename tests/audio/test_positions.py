"""Positions of events in the audio, and pauses that are silence."""

from twisted.trial.unittest import SynchronousTestCase

from tests.subtest import subtest
from voxrec.audio.positions import AudioPositions, Pause
from voxrec.model import TimelineEntry


def entry(at: float, event: str, detail: str | None = None) -> TimelineEntry:
    return TimelineEntry(at=at, event=event, detail=detail)


class PositionTests(SynchronousTestCase):
    def test_times_from_the_answer_are_positions(self) -> None:
        positions = AudioPositions([entry(0.0, "answered"), entry(60.0, "hangup")], 60.0)
        self.assertEqual([positions.position(at) for at in (0.0, 12.5, 60.0)], [0.0, 12.5, 60.0])
        self.assertEqual(positions.pauses, [])

    def test_positions_are_within_the_audio(self) -> None:
        positions = AudioPositions([entry(0.0, "answered")], 10.0)
        self.assertEqual([positions.position(at) for at in (-1.0, 11.0)], [0.0, 10.0])

    def test_audio_that_began_late(self) -> None:
        timeline = [entry(0.0, "recording.failed"), entry(5.0, "recording.started"), entry(20.0, "beep")]
        positions = AudioPositions(timeline, 30.0)
        self.assertEqual([positions.position(at) for at in (0.0, 5.0, 20.0)], [0.0, 0.0, 15.0])

    def test_a_silent_pause_is_in_the_audio(self) -> None:
        timeline = [entry(10.0, "paused", "silence"), entry(15.0, "resumed"), entry(20.0, "beep")]
        positions = AudioPositions(timeline, 30.0)
        self.assertEqual(positions.pauses, [Pause(10.0, 15.0)])
        self.assertEqual(positions.position(20.0), 20.0)

    def test_a_skipped_pause_moves_what_follows(self) -> None:
        timeline = [
            *(entry(10.0, "paused", "skip"), entry(15.0, "resumed"), entry(20.0, "beep")),
            *(entry(22.0, "paused", "in-band"), entry(25.0, "resumed", "in-band")),
        ]
        positions = AudioPositions(timeline, 25.0)
        self.assertEqual([positions.position(at) for at in (10.0, 12.0, 15.0, 20.0)], [10.0, 10.0, 10.0, 15.0])
        self.assertEqual(positions.pauses, [Pause(17.0, 20.0)])

    def test_a_pause_that_never_ended(self) -> None:
        for behaviour, expected in (("silence", [Pause(10.0, 30.0)]), ("skip", [])):
            with subtest(behaviour):
                positions = AudioPositions([entry(10.0, "paused", behaviour)], 30.0)
                self.assertEqual(positions.pauses, expected)

    def test_a_hang_up_ends_a_pause(self) -> None:
        positions = AudioPositions([entry(10.0, "paused", "silence"), entry(12.0, "hangup")], 30.0)
        self.assertEqual(positions.pauses, [Pause(10.0, 12.0)])

    def test_a_late_beginning_and_both_kinds_of_pauses(self) -> None:
        timeline = [
            *(entry(2.0, "recording.started"), entry(4.0, "paused", "skip"), entry(6.0, "resumed")),
            *(entry(8.0, "paused", "silence"), entry(9.0, "resumed"), entry(10.0, "beep")),
        ]
        positions = AudioPositions(timeline, 20.0)
        self.assertEqual(positions.pauses, [Pause(4.0, 5.0)])
        self.assertEqual(positions.position(10.0), 6.0)
