"""Tests of voxrec.audio.pause_cuts."""

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.audio.fixtures import RATE, AudioTestCase, Samples, silence, tone
from voxrec.audio.pause_cuts import TIMELINE_TOLERANCE, Cut, Span, find_cuts, remove_cuts, skipped_spans
from voxrec.model import Side, TimelineEntry


def entry(at: float, event: str, detail: str | None = None) -> TimelineEntry:
    return TimelineEntry(at=at, event=event, detail=detail)


def speech(seconds: float) -> Samples:
    """Return samples without a zero."""
    return np.where((samples := tone(440, seconds)) == 0, 1, samples).astype(np.int16)


class SkippedSpansTests(AudioTestCase):
    def test_timelines(self) -> None:
        skip, silence_pause = entry(2.0, "paused", "skip"), entry(6.0, "paused", "silence")
        for timeline, spans in (
            ((), []),
            ((skip, entry(4.0, "resumed")), [Span(2.0, 4.0)]),
            ((skip, entry(5.0, "hangup")), [Span(2.0, 5.0)]),
            ((skip,), [Span(2.0, None)]),
            ((silence_pause, entry(7.0, "resumed")), []),
            ((entry(2.0, "paused"), entry(7.0, "resumed")), []),
            ((skip, entry(3.0, "beep"), entry(4.0, "resumed"), silence_pause, entry(8.0, "resumed")), [Span(2.0, 4.0)]),
            ((entry(4.0, "resumed"), skip), [Span(2.0, 4.0)]),
        ):
            with self.subTest(timeline):
                self.assertEqual(skipped_spans(timeline), spans)


class CutTests(AudioTestCase):
    def cut(self, caller: Samples, callee: Samples, *spans: Span) -> tuple[list[Cut], Samples, Samples]:
        paths = {Side.CALLER: self.write("caller.wav", caller), Side.CALLEE: self.write("callee.wav", callee)}
        cuts = find_cuts(paths, spans)
        remaining = []
        for side, path in paths.items():
            output = self.directory / f"cut-{side}.wav"
            remove_cuts(path, output, cuts, RATE)
            remaining.append(self.read(output)[:, 0])
        return cuts, remaining[0], remaining[1]

    def test_cut_is_exact_to_the_sample(self) -> None:
        """Recording started 37 ms after it was requested; each side is silent at times outside the pause."""
        delay = 0.037
        before, after = speech(1.0), speech(1.0)
        quiet = silence(1.2)
        caller = np.concatenate((before, quiet, speech(2 - delay), silence(3.011), after, quiet, before))
        callee = np.concatenate((quiet, before, speech(2 - delay), silence(3.011), quiet, after, before))
        start = len(before) + len(quiet) + len(speech(2 - delay))
        cuts, left, right = self.cut(caller, callee, Span(2.0 + 2.2, 5.0 + 2.2))
        self.assertEqual(cuts, [Cut(start, start + len(silence(3.011)))])
        for original, remaining in ((caller, left), (callee, right)):
            np.testing.assert_array_equal(remaining, np.delete(original, np.s_[cuts[0].start : cuts[0].end]))

    def test_longer_silence_is_cut_at_the_borders_of_the_timeline(self) -> None:
        quiet = np.concatenate((speech(1), silence(8), speech(1)))
        cuts, left, right = self.cut(quiet, quiet, Span(3.0, 5.0))
        self.assertEqual(cuts, [Cut(3 * RATE, 5 * RATE)])
        self.assertEqual((len(left), len(right)), (8 * RATE, 8 * RATE))

    def test_speech_of_one_side_is_not_cut(self) -> None:
        cuts, left, _ = self.cut(silence(10), speech(10), Span(3.0, 5.0))
        self.assertEqual((cuts, len(left)), ([], 10 * RATE))

    def test_cut_to_the_end_with_legs_of_different_lengths(self) -> None:
        caller = np.concatenate((speech(3), silence(2)))
        callee = np.concatenate((speech(3), silence(1)))
        for end in (5.0, 5.2, None):
            cuts, left, right = self.cut(caller, callee, Span(3.1, end))
            self.assertEqual((cuts, len(left), len(right)), ([Cut(3 * RATE, 5 * RATE)], 3 * RATE, 3 * RATE))

    def test_missing_leg(self) -> None:
        samples = np.concatenate((speech(2), silence(2), speech(1)))
        path = self.write("caller.wav", samples)
        self.assertEqual(find_cuts({Side.CALLER: path}, [Span(2.0, 4.0)]), [Cut(2 * RATE, 4 * RATE)])
        self.assertEqual(find_cuts({}, [Span(2.0, 4.0)]), [])

    def test_pause_longer_than_a_block(self) -> None:
        samples = np.concatenate((speech(40), silence(75), speech(3)))
        cuts, left, _ = self.cut(samples, samples, Span(40.1, 115.2))
        self.assertEqual((cuts, len(left)), ([Cut(40 * RATE, 115 * RATE)], 43 * RATE))

    @settings(max_examples=60, deadline=None)
    @given(st.data())
    def test_only_shared_silence_is_cut(self, data: st.DataObject) -> None:
        """Check arbitrary legs and arbitrarily wrong timelines."""
        seconds = st.integers(1, 12).map(lambda tenths: tenths / 10)
        parts_of_leg = st.lists(st.tuples(seconds, st.booleans()), max_size=8)
        legs = []
        for _ in Side:
            parts = [speech(length) if speaking else silence(length) for length, speaking in data.draw(parts_of_leg)]
            legs.append(np.concatenate([silence(0.1), *parts]))
        times = sorted(data.draw(st.lists(st.floats(0, 10), min_size=4, max_size=4)))
        spans = [Span(times[0], times[1]), Span(times[2], data.draw(st.sampled_from([times[3], None])))]
        cuts, left, right = self.cut(legs[0], legs[1], *spans)
        for before, after in pairwise(cuts):
            self.assertLessEqual(before.end, after.start)
        for cut in cuts:
            self.assertLess(cut.start, cut.end)
            self.assertTrue(
                any(
                    span.start - TIMELINE_TOLERANCE <= cut.start / RATE + 1e-3
                    and (span.end is None or cut.end / RATE - 1e-3 <= span.end + TIMELINE_TOLERANCE)
                    for span in spans
                )
            )
        for original, remaining in zip(legs, (left, right), strict=True):
            cut_frames = np.zeros(len(original), dtype=np.bool_)
            for cut in cuts:
                cut_frames[cut.start : cut.end] = True
            self.assertFalse(original[cut_frames].any())
            np.testing.assert_array_equal(remaining, original[~cut_frames])
