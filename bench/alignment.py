"""Drift between the two channels of a long recording: each phone plays a click every second for some minutes.

Both phones use the clock of this machine, so that the time from the caller's click to the callee's must stay constant;
its change is the drift between the leg files.

python -m bench.alignment [--minutes 10]
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np
import soundfile
from numpy.typing import NDArray
from twisted.internet.defer import Deferred
from twisted.internet.task import react

from voxrec.sandbox import demo_call, tones
from voxrec.sandbox.phone import Phone
from voxrec.sandbox.rootfs import asterisk_rootfs
from voxrec.sandbox.stack import Stack

_MAX_DRIFT_MS: Final = 20.0
_RATE: Final = 8000
_THRESHOLD: Final = 0.05  # of full scale
_SILENCE_SECONDS: Final = 0.5  # before a click


def make_clicks(path: Path) -> Path:
    """Write one second of audio that starts with 50 ms of a 1 kHz tone, and return the path."""
    samples = np.zeros(_RATE, dtype=np.float32)
    time = np.arange(int(0.05 * _RATE)) / _RATE
    samples[: len(time)] = 0.5 * np.sin(2 * np.pi * 1000 * time)
    soundfile.write(path, samples, _RATE, subtype="PCM_16")
    return path


def find_clicks(channel: NDArray[Any], rate: int) -> NDArray[np.float64]:
    """Return the start of each click of a channel in seconds."""
    loud = np.flatnonzero(np.abs(channel) > _THRESHOLD)
    first = np.r_[True, np.diff(loud) > _SILENCE_SECONDS * rate] if len(loud) else np.array([], dtype=bool)
    return np.asarray(loud[first] / rate, dtype=np.float64)


def drift(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the drift in milliseconds at each click on the left, against the offset at the start."""
    offsets = right[np.abs(right[None, :] - left[:, None]).argmin(axis=1)] - left
    return np.asarray((offsets - np.median(offsets[:10])) * 1000)


async def _main(reactor: Any, minutes: float) -> None:
    with tempfile.TemporaryDirectory(prefix="voxrec-alignment-") as name:
        directory = Path(name)
        directory.chmod(0o755)  # noqa: ASYNC240 - before the reactor has work
        stack = Stack(reactor, directory / "stack", asterisk_rootfs(print))
        try:
            await stack.start(print)
            sound = make_clicks(directory / "clicks.wav")
            callee = await Phone.make_callee(reactor, directory, name="desk", play=sound).start()
            profile = await stack.request_json(
                *("PUT", "/profiles"), {"remoteSipUri": callee.uri, "record": True, "recordChannels": "dual"}
            )
            caller = Phone.make_caller(
                reactor,
                directory,
                f"sip:{profile['id']}@{stack.sip_host_port}",
                name="caller",
                play=sound,
                seconds=minutes * 60,
            )
            await caller.start()
            print(f"placing a call of {minutes:g} minutes", flush=True)
            await caller.wait_until_ended(minutes * 60 + 60)
            recording = await stack.wait_for_recording(profile["id"], 120)
            audio = directory / "recording.wav"
            audio.write_bytes((await stack.request("GET", f"/recordings/{recording['id']}/audio")).body)
        finally:
            await stack.stop()
        samples, rate = tones.load_audio(audio)
    left, right = find_clicks(samples[:, demo_call.LEFT], rate), find_clicks(samples[:, demo_call.RIGHT], rate)
    drift_ms = drift(left, right)
    worst = float(np.abs(drift_ms).max())
    print(f"{len(samples) / rate:.2f} s recorded; clicks: {len(left)} left, {len(right)} right")
    print(f"drift: at most {worst:.2f} ms, at the end {abs(float(drift_ms[-1])):.2f} ms (limit: {_MAX_DRIFT_MS:g} ms)")
    if worst > _MAX_DRIFT_MS:
        sys.exit(1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    react(lambda reactor: Deferred.fromCoroutine(_main(reactor, parser.parse_args().minutes)))
