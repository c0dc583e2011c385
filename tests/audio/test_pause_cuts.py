"""Tests of voxrec.audio.pause_cuts."""

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.audio.tones import RATE, AudioTestCase, Samples, silence, tone
from voxrec.audio.pause_cuts import SLACK_SECONDS, Cut, Span, cuts, skipped, without
from voxrec.model import Side, TimelineEntry


def entry(at: float, event: str, detail: str | None = None) -> TimelineEntry:
    return TimelineEntry(at=at, event=event, detail=detail)


def speech(seconds: float) -> Samples:
    """Samples none of which is zero."""
    return np.where((samples := tone(440, seconds)) == 0, 1, samples).astype(np.int16)


class SkippedTests(AudioTestCase):
    def test_spans(self) -> None:
        pause, hush = entry(2.0, "paused", "skip"), entry(6.0, "paused", "silence")
        for timeline, spans in (
            ((), []),
            ((pause, entry(4.0, "resumed")), [Span(2.0, 4.0)]),
            ((pause, entry(5.0, "hangup")), [Span(2.0, 5.0)]),
            ((pause,), [Span(2.0, None)]),
            ((hush, entry(7.0, "resumed")), []),
            ((entry(2.0, "paused"), entry(7.0, "resumed")), []),
            ((pause, entry(3.0, "beep"), entry(4.0, "resumed"), hush, entry(8.0, "resumed")), [Span(2.0, 4.0)]),
            ((entry(4.0, "resumed"), pause), [Span(2.0, 4.0)]),
        ):
            with self.subTest(timeline):
                self.assertEqual(skipped(timeline), spans)


class CutTests(AudioTestCase):
    def cut(self, caller: Samples, callee: Samples, *spans: Span) -> tuple[list[Cut], Samples, Samples]:
        paths = {Side.CALLER: self.write("caller.wav", caller), Side.CALLEE: self.write("callee.wav", callee)}
        found = cuts(paths, spans)
        kept = []
        for side, path in paths.items():
            output = self.directory / f"cut-{side}.wav"
            without(path, output, found)
            kept.append(self.read(output)[:, 0])
        return found, kept[0], kept[1]

    def test_to_the_sample(self) -> None:
        """The recording began 37 ms after it was asked for, and in both sides somebody is silent before and after."""
        late = 0.037
        before, after = speech(1.0), speech(1.0)
        hush = silence(1.2)
        caller = np.concatenate((before, hush, speech(2 - late), silence(3.011), after, hush, before))
        callee = np.concatenate((hush, before, speech(2 - late), silence(3.011), hush, after, before))
        began = len(before) + len(hush) + len(speech(2 - late))
        found, left, right = self.cut(caller, callee, Span(2.0 + 2.2, 5.0 + 2.2))
        self.assertEqual(found, [Cut(began, began + len(silence(3.011)))])
        for whole, kept in ((caller, left), (callee, right)):
            np.testing.assert_array_equal(kept, np.delete(whole, np.s_[found[0].start : found[0].end]))

    def test_where_nobody_spoke_the_timeline_is_the_border(self) -> None:
        quiet = np.concatenate((speech(1), silence(8), speech(1)))
        found, left, right = self.cut(quiet, quiet, Span(3.0, 5.0))
        self.assertEqual(found, [Cut(3 * RATE, 5 * RATE)])
        self.assertEqual((len(left), len(right)), (8 * RATE, 8 * RATE))

    def test_one_side_that_speaks_is_not_cut(self) -> None:
        found, left, _ = self.cut(silence(10), speech(10), Span(3.0, 5.0))
        self.assertEqual((found, len(left)), ([], 10 * RATE))

    def test_to_the_end_also_where_one_side_ends_earlier(self) -> None:
        caller = np.concatenate((speech(3), silence(2)))
        callee = np.concatenate((speech(3), silence(1)))
        for end in (5.0, 5.2, None):
            found, left, right = self.cut(caller, callee, Span(3.1, end))
            self.assertEqual((found, len(left), len(right)), ([Cut(3 * RATE, 5 * RATE)], 3 * RATE, 3 * RATE))

    def test_a_side_that_was_never_heard(self) -> None:
        samples = np.concatenate((speech(2), silence(2), speech(1)))
        path = self.write("caller.wav", samples)
        self.assertEqual(cuts({Side.CALLER: path}, [Span(2.0, 4.0)]), [Cut(2 * RATE, 4 * RATE)])
        self.assertEqual(cuts({}, [Span(2.0, 4.0)]), [])

    def test_a_pause_longer_than_what_is_read_at_once(self) -> None:
        samples = np.concatenate((speech(40), silence(75), speech(3)))
        found, left, _ = self.cut(samples, samples, Span(40.1, 115.2))
        self.assertEqual((found, len(left)), ([Cut(40 * RATE, 115 * RATE)], 43 * RATE))

    @settings(max_examples=60, deadline=None)
    @given(st.data())
    def test_nothing_but_shared_silence_goes(self, data: st.DataObject) -> None:
        """Whatever is said whenever, and however wrong the timeline is."""
        seconds = st.integers(1, 12).map(lambda tenths: tenths / 10)
        said = st.lists(st.tuples(seconds, st.booleans()), max_size=8)
        legs = []
        for _ in Side:
            parts = [speech(length) if loud else silence(length) for length, loud in data.draw(said)]
            legs.append(np.concatenate([silence(0.1), *parts]))
        times = sorted(data.draw(st.lists(st.floats(0, 10), min_size=4, max_size=4)))
        spans = [Span(times[0], times[1]), Span(times[2], data.draw(st.sampled_from([times[3], None])))]
        found, left, right = self.cut(legs[0], legs[1], *spans)
        for before, after in pairwise(found):
            self.assertLessEqual(before.end, after.start)
        for cut in found:
            self.assertLess(cut.start, cut.end)
            self.assertTrue(
                any(
                    span.start - SLACK_SECONDS <= cut.start / RATE + 1e-3
                    and (span.end is None or cut.end / RATE - 1e-3 <= span.end + SLACK_SECONDS)
                    for span in spans
                )
            )
        for whole, kept in zip(legs, (left, right), strict=True):
            gone = np.zeros(len(whole), dtype=np.bool_)
            for cut in found:
                gone[cut.start : cut.end] = True
            self.assertFalse(whole[gone].any())
            np.testing.assert_array_equal(kept, whole[~gone])
