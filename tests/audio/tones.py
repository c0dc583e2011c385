"""Audio whose every sample is known: tones, silence, noise, and the files that hold them."""

import tempfile
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from twisted.trial.unittest import SynchronousTestCase

RATE = 8000

Samples = NDArray[np.int16]


def tone(hertz: float, seconds: float, amplitude: float = 8000, rate: int = RATE) -> Samples:
    time = np.arange(round(seconds * rate)) / rate
    return np.rint(amplitude * np.sin(2 * np.pi * hertz * time)).astype(np.int16)


def constant(value: int, seconds: float) -> Samples:
    return np.full(round(seconds * RATE), value, dtype=np.int16)


def silence(seconds: float) -> Samples:
    return constant(0, seconds)


def strength(samples: NDArray[np.int16], hertz: float, rate: int = RATE) -> float:
    """The amplitude of one frequency."""
    turning = np.exp(-2j * np.pi * hertz * np.arange(len(samples)) / rate)
    return float(abs(np.dot(samples, turning)) * 2 / len(samples))


class AudioTestCase(SynchronousTestCase):
    """A directory for each test, and files in it."""

    def setUp(self) -> None:
        held = tempfile.TemporaryDirectory()
        self.addCleanup(held.cleanup)
        self.directory = Path(held.name)

    def write(self, name: str, samples: NDArray[np.int16], rate: int = RATE, subtype: str = "PCM_16") -> Path:
        path = self.directory / name
        soundfile.write(path, samples, rate, subtype=subtype)
        return path

    def read(self, path: Path) -> NDArray[np.int16]:
        """Shaped (frames, channels)."""
        samples: NDArray[np.int16] = soundfile.read(path, dtype="int16", always_2d=True)[0]
        return samples
