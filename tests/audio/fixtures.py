"""Fixtures: generated audio with known samples, and a test case that writes and reads audio files."""

import io
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from twisted.trial.unittest import SynchronousTestCase

from voxrec.audio.meter import Meter, frames_per_block

RATE = 8000
SPEECH_AMPLITUDE = 2300  # of a tone of about -26 dBov, the level of speech on a telephone line

Samples = NDArray[np.int16]


def tone(hertz: float, seconds: float, amplitude: float = 8000, rate: int = RATE) -> Samples:
    """Return a sine wave."""
    time = np.arange(round(seconds * rate)) / rate
    return np.rint(amplitude * np.sin(2 * np.pi * hertz * time)).astype(np.int16)


def constant(value: int, seconds: float) -> Samples:
    """Return samples with the same value."""
    return np.full(round(seconds * RATE), value, dtype=np.int16)


def silence(seconds: float) -> Samples:
    return constant(0, seconds)


def g711(samples: Samples, codec: str = "ULAW") -> Samples:
    """Return samples as A-law ("ALAW") or mu-law ("ULAW") transports them."""
    encoded = io.BytesIO()
    soundfile.write(encoded, samples, RATE, format="RAW", subtype=codec)
    decoded: Samples = soundfile.read(
        io.BytesIO(encoded.getvalue()), samplerate=RATE, channels=1, format="RAW", subtype=codec, dtype="int16"
    )[0]
    return decoded


def measure(samples: Samples, rate: int = RATE) -> Meter:
    """Return a meter that was fed with these samples."""
    meter = Meter(rate)
    for start in range(0, len(samples), frames_per_block(rate)):
        meter.feed(samples[start : start + frames_per_block(rate)])
    return meter


def amplitude_at(samples: NDArray[np.int16], hertz: float, rate: int = RATE) -> float:
    """Return the amplitude of one frequency."""
    carrier = np.exp(-2j * np.pi * hertz * np.arange(len(samples)) / rate)
    return float(abs(np.dot(samples, carrier)) * 2 / len(samples))


class AudioTestCase(SynchronousTestCase):
    """Each test has a temporary directory, ``self.directory``, for its files."""

    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.directory = Path(temporary.name)

    def write(self, name: str, samples: NDArray[np.int16], rate: int = RATE, subtype: str = "PCM_16") -> Path:
        path = self.directory / name
        soundfile.write(path, samples, rate, subtype=subtype)
        return path

    def read(self, path: Path) -> NDArray[np.int16]:
        """Return the samples, shaped (frames, channels)."""
        samples: NDArray[np.int16] = soundfile.read(path, dtype="int16", always_2d=True)[0]
        return samples
