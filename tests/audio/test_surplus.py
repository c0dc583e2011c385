"""Tests of voxrec.audio.surplus, with the audio that MixMonitor makes of duplicates."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tests.audio.audiohook import PIECE_MS, SILENCE, AudioHook, Party, Pieces, at_random, stalls
from tests.audio.fixtures import RATE, AudioTestCase, Samples, constant, g711, measure, silence, tone
from tests.audio.mix_monitor import FRAME, MAX_QUEUE, ZEROS, Arrivals, arrive, mix_monitor, speech
from voxrec.audio.pause_cuts import Cut, remove_cuts
from voxrec.audio.surplus import find_surplus
from voxrec.model import Side

PIECE = RATE * PIECE_MS // 1000  # samples


def place(audio: Samples, pieces: Pieces) -> Samples:
    """Return recorded pieces of what a party has sent."""
    parts = audio[: len(audio) - len(audio) % PIECE].reshape(-1, PIECE)
    placed: Samples = np.where((pieces == SILENCE)[:, np.newaxis], 0, parts[pieces % len(parts)]).astype(np.int16)
    return placed.reshape(-1)


def telephone_sounds(seconds: float, generator: np.random.Generator) -> Samples:
    """Return sounds of 5 to 300 ms, most of which repeat themselves, as G.711 transports them."""
    parts: list[Samples] = []
    while sum(map(len, parts)) < seconds * RATE:
        duration = float(generator.choice([0.02, 0.0225, 0.04, 0.045, 0.08, 0.09, generator.uniform(0.005, 0.3)]))
        amplitude = float(generator.choice([2300.0, 9000.0]))
        parts.append(_sound(int(generator.integers(8)), duration, amplitude, generator))
    sounds = np.concatenate(parts)[: round(seconds * RATE)]
    return g711(sounds, str(generator.choice(["ALAW", "ULAW"])))


def _sound(kind: int, duration: float, amplitude: float, generator: np.random.Generator) -> Samples:
    count = round(duration * RATE)
    if kind == 0:
        return silence(duration)
    if kind == 1:  # a quiet line
        line = constant(8, duration)
        line[generator.random(len(line)) < generator.choice([0.0, 0.005, 0.5])] = -8
        return line
    if kind == 2:  # one or two tones of a supervisory signal
        frequencies = [25.0 * int(number) for number in generator.integers(2, 137, generator.integers(1, 3))]
        return _tones(frequencies, duration, amplitude, generator)
    if kind == 3:  # DTMF
        pair = generator.choice([697, 770, 852, 941]), generator.choice([1209, 1336, 1477, 1633])
        return _tones([float(each) for each in pair], duration, amplitude, generator)
    if kind == 4:  # a square wave, as of a ringing melody
        period = int(generator.choice([8, 10, 16, 20, 32, 40, 80]))
        return (np.where(np.arange(count) % period < period // 2, amplitude, -amplitude)).astype(np.int16)
    if kind == 5:  # frequency shift keying: a modem of ITU-T V.21, or a text telephone
        bits = generator.integers(0, 2, count // 27 + 1).repeat(27)[:count]
        phase = np.cumsum(2 * np.pi * np.where(bits, 1650, 1850) / RATE)
        return np.rint(amplitude * np.sin(phase)).astype(np.int16)
    if kind == 6:  # a voice at a constant pitch, as of a synthesiser
        count = max(count, 1600)
        pulses = np.zeros(count)
        pulses[int(generator.integers(20)) :: int(generator.integers(20, 161))] = 1.0
        decay = np.exp(-np.arange(60) / 15) * np.cos(2 * np.pi * np.arange(60) * 700 / RATE)
        return np.rint(amplitude * np.convolve(pulses, decay)[:count]).astype(np.int16)
    return np.rint(generator.normal(0, amplitude / 3, count)).astype(np.int16)


def _tones(frequencies: Sequence[float], duration: float, amplitude: float, generator: np.random.Generator) -> Samples:
    """Return tones that do not begin at a zero, so that two of them are not a packet and its copy."""
    start = int(generator.integers(400))
    parts = [tone(each, duration + start / RATE, amplitude / len(frequencies)) for each in frequencies]
    total: Samples = np.sum(parts, axis=0, dtype=np.int16)
    return total[start:]


class SurplusTests(AudioTestCase):
    def without_surplus(self, left: Samples, right: Samples) -> tuple[Samples, Samples] | None:
        cuts = self.cuts(left, right)
        if not cuts:
            return None
        legs = {side: self.directory / f"{side}.wav" for side in Side}
        cleaned = []
        for side, leg in legs.items():
            output = self.directory / f"{side}-cleaned.wav"
            remove_cuts(leg, output, cuts.get(side, []), RATE)
            cleaned.append(self.read(output))
        return cleaned[0], cleaned[1]

    def cuts(self, left: Samples, right: Samples) -> Mapping[Side, list[Cut]]:
        legs = {Side.CALLER: self.write("caller.wav", left), Side.CALLEE: self.write("callee.wav", right)}
        return find_surplus(legs)

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

    def test_silence_long_after_a_copy_has_another_cause(self) -> None:
        """A gateway has replaced packets of the caller that were lost; later, packets of the callee are lost."""
        caller, callee = speech(100.0, 1), speech(100.0, 2)
        for number in (100, 103, 106):
            caller[number] = caller[number - 1]
        for lost, removed in ((1000, True), (2000, False)):
            lossy = arrive(callee)
            for number in range(lost, lost + 30, 5):
                lossy[number] = []
            with self.subTest(lost=lost):
                self.assertEqual(self.without_surplus(*mix_monitor(arrive(caller), lossy)) is not None, removed)

    def test_nothing_is_removed_without_duplicates(self) -> None:
        """Tones, cadences, music, modems and quiet lines, beside loss, delays and parties that begin late."""
        hook = AudioHook()
        for seed in range(25):
            generator = np.random.default_rng(seed)
            seconds = 20.0
            parties = [
                Party(
                    ptime=int(generator.choice([10, 20, 20, 30, 60])),
                    phase=float(generator.choice([0.0, 7.0, 900.0, 5000.0])),
                    lost=at_random(float(generator.choice([0.0, 0.01, 0.05])), seed),
                    delays=stalls(3000.0, float(generator.choice([20.0, 110.0, 200.0])), seed + number),
                )
                for number in range(2)
            ]
            recorded = hook.record(*(party.packets(seconds)[0] for party in parties))
            legs = [place(telephone_sounds(seconds, generator), pieces) for pieces in recorded]
            self.assertEqual(self.cuts(*legs), {}, seed)

    def test_only_what_was_recorded_twice_is_removed(self) -> None:
        hook = AudioHook()
        removed = 0
        for seed in range(20):
            generator = np.random.default_rng(seed)
            parties = [
                Party(
                    ptime=int(generator.choice([10, 20, 20, 30, 60])),
                    phase=float(generator.choice([0.0, 7.0, 900.0])),
                    lost=at_random(float(generator.choice([0.0, 0.01])), seed),
                    twice=at_random(float(generator.choice([0.0, 0.02, 0.3, 1.0])), seed + number),
                    delays=stalls(5000.0, float(generator.choice([20.0, 110.0])), seed + number),
                )
                for number in range(2)
            ]
            recorded = hook.record(*(party.packets(20.0)[0] for party in parties))
            legs = [place(np.concatenate(speech(20.0, number)), pieces) for number, pieces in enumerate(recorded)]
            for side, cuts in self.cuts(*legs).items():
                number = list(Side).index(side)
                kept = np.ones(len(legs[number]), dtype=np.bool_)
                for cut in cuts:
                    self.assertTrue(kept[cut.start : cut.end].all(), "removed once")
                    kept[cut.start : cut.end] = False
                pieces = recorded[number].repeat(PIECE)
                self.assertEqual(np.setdiff1d(pieces, [*pieces[kept], SILENCE]).tolist(), [], (seed, side))
                removed += int(np.count_nonzero(~kept))
        self.assertGreater(removed, 20 * RATE)

    def test_legs_that_cannot_be_compared(self) -> None:
        left = self.write("left.wav", tone(440, 2))
        self.assertEqual(find_surplus({Side.CALLER: left}), {})
        wideband = self.write("right.wav", tone(440, 2, rate=16_000), 16_000)
        self.assertEqual(find_surplus({Side.CALLER: left, Side.CALLEE: wideband}), {})
