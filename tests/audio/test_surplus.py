"""Tests of voxrec.audio.surplus, with the audio that MixMonitor makes of duplicates."""

from pathlib import Path

import numpy as np

from tests.audio.fixtures import RATE, AudioTestCase, Samples, measure, tone
from tests.audio.mix_monitor import FRAME, MAX_QUEUE, ZEROS, Arrivals, arrive, mix_monitor, speech
from voxrec.audio.pause_cuts import remove_cuts
from voxrec.audio.surplus import find_surplus
from voxrec.model import Side


class SurplusTests(AudioTestCase):
    def without_surplus(self, left: Samples, right: Samples) -> tuple[Samples, Samples] | None:
        legs = {Side.CALLER: self.write("caller.wav", left), Side.CALLEE: self.write("callee.wav", right)}
        cuts = find_surplus(legs)
        if not cuts:
            return None
        cleaned = []
        for side, leg in legs.items():
            output = self.directory / f"{side}-cleaned.wav"
            remove_cuts(leg, output, cuts.get(side, []), RATE)
            cleaned.append(self.read(output))
        return cleaned[0], cleaned[1]

    def read(self, path: Path) -> Samples:
        return np.frombuffer(path.read_bytes()[44:], dtype=np.int16)

    def assert_complete(self, recorded: Samples, packets: list[Samples]) -> None:
        """Assert that a leg has the packets at their times, but for the last ones, which MixMonitor may not write."""
        expected = np.concatenate(packets)
        self.assertLessEqual(abs(len(recorded) - len(expected)), MAX_QUEUE * FRAME)
        end = len(expected) - MAX_QUEUE * FRAME
        np.testing.assert_array_equal(recorded[:end], expected[:end])

    def test_packets_that_arrive_twice(self) -> None:
        caller, callee = speech(70.0, 1), speech(70.0, 2)
        for twice in (20, 7, 2, 1):
            for reverse in (False, True):
                with self.subTest(twice=twice, reverse=reverse):
                    sides = (arrive(caller, twice=twice), arrive(callee))
                    recorded = mix_monitor(*sides) if not reverse else mix_monitor(*sides[::-1])[::-1]
                    cleaned = self.without_surplus(*recorded)
                    assert cleaned is not None
                    self.assert_complete(cleaned[0], caller)
                    self.assert_complete(cleaned[1], callee)

    def test_a_party_that_begins_later(self) -> None:
        caller, callee = speech(20.0, 1), speech(20.0, 2)
        left, right = mix_monitor(arrive(caller, twice=1), arrive(callee))
        begin = np.tile(ZEROS, 10)
        late = np.concatenate((begin, right))
        early = np.concatenate((*(packet for packet in speech(0.1, 3) for _ in range(2)), left))
        cleaned = self.without_surplus(early, late)
        assert cleaned is not None
        self.assert_complete(cleaned[0], [*speech(0.1, 3), *caller])
        self.assert_complete(cleaned[1], [ZEROS] * 5 + callee)

    def test_packets_of_both_parties(self) -> None:
        caller, callee = speech(20.0, 1), speech(20.0, 2)
        for twice in (1, 3):
            cleaned = self.without_surplus(*mix_monitor(arrive(caller, twice=1), arrive(callee, twice=twice)))
            assert cleaned is not None
            self.assert_complete(cleaned[0], caller)
            self.assert_complete(cleaned[1], callee)

    def test_packets_of_30_ms(self) -> None:
        caller = np.split(np.concatenate(speech(24.0, 1)), range(240, 24 * RATE, 240))
        callee = speech(24.0, 2)
        arrivals: Arrivals = [[] for _ in callee]
        for number, packet in enumerate(caller):
            arrivals[min(len(callee) - 1, (number * 3 + 1) // 2)] += [packet] * (2 if number % 10 == 0 else 1)
        cleaned = self.without_surplus(*mix_monitor(arrivals, arrive(callee)))
        assert cleaned is not None
        self.assert_complete(cleaned[0], caller)
        difference = len(np.concatenate(caller)) - len(cleaned[1])
        self.assertLessEqual(abs(difference), (MAX_QUEUE + 2) * FRAME)

    def test_copies_in_place_of_lost_packets_are_no_surplus(self) -> None:
        packets = speech(20.0, 1)
        for number in range(10, len(packets), 10):
            packets[number] = packets[number - 1]
        recorded = mix_monitor(arrive(packets), arrive(speech(20.0, 2)))
        self.assertGreater(measure(recorded[0]).duplicate_seconds, 1.0)
        self.assertIsNone(self.without_surplus(*recorded))

    def test_lost_packets_only(self) -> None:
        recorded = mix_monitor(arrive(speech(20.0, 1), lost=20), arrive(speech(20.0, 2)))
        self.assertGreater(measure(recorded[0]).gap_seconds, 0.5)
        self.assertIsNone(self.without_surplus(*recorded))

    def test_packets_that_are_lost_remain_missing(self) -> None:
        caller, callee = speech(20.0, 1), speech(20.0, 2)
        recorded = mix_monitor(arrive(caller, twice=5), arrive(callee, lost=40))
        cleaned = self.without_surplus(*recorded)
        assert cleaned is not None
        self.assertLessEqual(abs(len(cleaned[0]) - 20 * RATE), (MAX_QUEUE + 2) * FRAME)
        kept = {packet.tobytes() for packet in np.split(cleaned[1], range(FRAME, len(cleaned[1]), FRAME))}
        lost = sum(packet.tobytes() not in kept for packet in callee)
        self.assertLessEqual(lost, len(callee) // 40 + MAX_QUEUE)

    def test_nothing_but_copies_and_silence_is_cut(self) -> None:
        generator = np.random.default_rng(5)
        for _ in range(20):
            sides = []
            for seed in (1, 2):
                counts = generator.choice([0, 1, 2], 1000, p=[0.02, 0.9, 0.08])
                packets = speech(20.0, seed)
                sides.append([[packet] * int(count) for packet, count in zip(packets, counts, strict=True)])
            recorded = mix_monitor(*sides)
            cleaned = self.without_surplus(*recorded) or recorded
            for before, after in zip(recorded, cleaned, strict=True):
                frames = [
                    {frame.tobytes() for frame in np.split(leg, range(FRAME, len(leg), FRAME))}
                    for leg in (before, after)
                ]
                self.assertLessEqual(frames[0] - frames[1], {ZEROS.tobytes()})

    def test_legs_that_cannot_be_compared(self) -> None:
        left = self.write("left.wav", tone(440, 2))
        self.assertEqual(find_surplus({Side.CALLER: left}), {})
        wideband = self.write("right.wav", tone(440, 2, rate=16_000), 16_000)
        self.assertEqual(find_surplus({Side.CALLER: left, Side.CALLEE: wideband}), {})
