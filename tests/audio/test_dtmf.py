"""Tests of voxrec.audio.dtmf."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from tests.audio.fixtures import RATE, AudioTestCase
from voxrec.audio.dtmf import find_digits

_ROWS: Final = (697, 770, 852, 941)
_COLUMNS: Final = (1209, 1336, 1477, 1633)
_ALL: Final = "123A456B789C*0#D"


def dtmf(
    digits: str,
    *,
    seconds: float = 0.1,
    gap: float = 0.1,
    amplitude: float = 6000,
    twist_db: float = 0.0,
    rate: int = RATE,
) -> NDArray[np.float64]:
    """Return the tones of digits, each followed by a gap; the upper tone is louder by ``twist_db``."""
    time = np.arange(round(seconds * rate)) / rate
    parts = []
    for digit in digits:
        row, column = divmod(_ALL.index(digit), 4)
        upper = amplitude * 10 ** (twist_db / 20)
        parts.append(
            amplitude * np.sin(2 * np.pi * _ROWS[row] * time) + upper * np.sin(2 * np.pi * _COLUMNS[column] * time + 1)
        )
        parts.append(np.zeros(round(gap * rate)))
    return np.concatenate(parts)


class DtmfTests(AudioTestCase):
    def found(self, samples: NDArray[np.float64], rate: int = RATE) -> str:
        path = self.write("audio.wav", np.clip(samples, -32768, 32767).astype(np.int16), rate)
        return "".join(digit.digit for digit in find_digits(path))

    def test_every_digit(self) -> None:
        for rate in (8000, 16000):
            self.assertEqual(self.found(dtmf(_ALL, rate=rate), rate), _ALL)

    def test_durations_levels_and_twist(self) -> None:
        for seconds in (0.055, 0.08, 0.5):
            for amplitude in (400, 4000, 12000):
                for twist_db in (-6.0, 0.0, 6.0):
                    samples = dtmf("*147#", seconds=seconds, gap=0.06, amplitude=amplitude, twist_db=twist_db)
                    self.assertEqual(self.found(samples), "*147#", (seconds, amplitude, twist_db))

    def test_times(self) -> None:
        silence = np.zeros(RATE)
        path = self.write("audio.wav", np.concatenate((silence, dtmf("5", seconds=0.2), silence)).astype(np.int16))
        (digit,) = find_digits(path)
        self.assertApproximates(digit.start, 1.0, 0.03)
        self.assertApproximates(digit.end, 1.2, 0.03)

    def test_same_digit_twice(self) -> None:
        self.assertEqual(self.found(dtmf("11", gap=0.05)), "11")

    def test_noise_of_a_line(self) -> None:
        noise = np.random.default_rng(1).standard_normal(len(dtmf("0*9"))) * 600  # 17 dB below the tones
        self.assertEqual(self.found(dtmf("0*9") + noise), "0*9")

    def test_more_than_one_block(self) -> None:
        path = self.write("audio.wav", np.concatenate((np.zeros(90 * RATE), dtmf("12"))).astype(np.int16))
        self.assertEqual([digit.digit for digit in find_digits(path)], ["1", "2"])
        self.assertApproximates(find_digits(path)[0].start, 90.0, 0.03)

    def test_what_is_no_digit(self) -> None:
        time = np.arange(RATE) / RATE
        for number, samples in enumerate(
            (
                np.zeros(100),
                np.zeros(RATE),
                5000 * np.sin(2 * np.pi * 697 * time),  # one tone only
                5000 * (np.sin(2 * np.pi * 440 * time) + np.sin(2 * np.pi * 480 * time)),  # ringing tone
                5000 * (np.sin(2 * np.pi * 697 * time) + np.sin(2 * np.pi * 770 * time)),  # of one group
                np.sin(2 * np.pi * 130 * np.outer(np.arange(1, 20), time)).sum(axis=0) * 1500,  # as a vowel
                np.random.default_rng(2).standard_normal(20 * RATE) * 5000,
                dtmf("1", seconds=0.02),  # too short
                dtmf("1", amplitude=20),  # too soft
                dtmf("1", twist_db=14.0),
            )
        ):
            self.assertEqual(self.found(np.asarray(samples)), "", number)
