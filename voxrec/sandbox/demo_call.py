"""One call between two phones through a running stack, and measurements of its recording.

The caller plays a tone of one frequency and the callee a tone of another, so that every sample can be attributed.
"""

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec

from voxrec.sandbox import tones
from voxrec.sandbox.phone import Phone
from voxrec.sandbox.stack import Stack

CALLER_HZ = 440.0
CALLEE_HZ = 1000.0
LEFT, RIGHT = 0, 1
EDGE_SECONDS = 0.3
"""Seconds at each end of a recording that are not measured: call set-up and hang-up."""
TOLERATED_GAP_MS = 60.0
"""Milliseconds of tone that may be missing: on a busy machine a phone or Asterisk loses single packets of 20 ms."""
MIN_MATCH_SCORE = 0.5
"""Score of `tones.find_sound`, and of `tones.find_interrupted_sound`, above which the sound counts as present."""
_MAX_LEAK = 0.01


@dataclass(frozen=True, slots=True)
class CompletedCall:
    """A call that has ended: its Profile, its two phones, and the seconds that the caller stayed connected."""

    profile: dict[str, Any]
    caller: Phone
    callee: Phone
    seconds: float


class RecordingMeasurement(msgspec.Struct, frozen=True):
    """Measurement of a two-channel recording; lengths and positions in seconds, gaps in milliseconds.

    ``caller_missing`` and ``callee_missing`` are the total gaps in each side's tone on its own channel;
    ``caller_leak`` and ``callee_leak`` are the amplitude of that tone on the other channel, relative to its own.
    """

    seconds: float
    caller_missing: float
    callee_missing: float
    caller_leak: float
    callee_leak: float
    announcement_at: float | None

    def gaps(self) -> list[str]:
        """Return a description of the gaps in each side's tone, if they are longer than what is tolerated."""
        sides = ((self.caller_missing, "the caller", "left"), (self.callee_missing, "the far end", "right"))
        return [
            f"{missing:.0f} ms of {party} are missing on the {channel} channel"
            for missing, party, channel in sides
            if missing > TOLERATED_GAP_MS
        ]

    def problems(self) -> list[str]:
        """Return a description of each deviation from a complete recording with an announcement."""
        problems = self.gaps()
        if self.leaks:
            problems.append("the audio of one side is also on the other side's channel")
        if self.announcement_at is None:
            problems.append("the announcement is not in the recording")
        return problems

    @property
    def leaks(self) -> bool:
        """Whether the audio of one side is also on the other side's channel."""
        return max(self.caller_leak, self.callee_leak) > _MAX_LEAK

    @property
    def explained_by_lost_packets(self) -> bool:
        """Whether lost packets can cause all problems: there are gaps, and no audio is on a wrong channel."""
        return bool(self.gaps()) and not self.leaks


async def create_profile_and_callee(
    stack: Stack, reactor: Any, directory: Path, **profile: Any
) -> tuple[dict[str, Any], Phone]:
    """Start a phone that answers after 0.2 s, and create a Profile with that phone as its far end.

    ``profile`` are further fields of the Profile. Return the Profile and the phone.
    """
    tone = tones.write_tone(directory / "desk.tone.wav", CALLEE_HZ, 1.0)
    callee = await Phone.make_callee(reactor, directory, name="desk", play=tone, ring_seconds=0.2).start()
    created: dict[str, Any] = await stack.request_json("PUT", "/profiles", {"remoteSipUri": callee.uri, **profile})
    return created, callee


async def place_call(
    stack: Stack,
    reactor: Any,
    directory: Path,
    profile: dict[str, Any],
    callee: Phone,
    seconds: float,
    **caller_options: Any,
) -> CompletedCall:
    """Call the Profile, stay connected for ``seconds``, hang up as the caller, and wait until both phones have ended.

    ``caller_options`` are arguments of `Phone.make_caller`.
    """
    tone = tones.write_tone(directory / "caller.tone.wav", CALLER_HZ, 1.0)
    caller = Phone.make_caller(
        reactor,
        directory,
        f"sip:{profile['id']}@{stack.sip_host_port}",
        name="caller",
        play=tone,
        seconds=seconds,
        **{"number": "+4930901820", "display_name": "Alice Example", **caller_options},
    )
    await caller.start()
    await caller.wait_for("confirmed", 20)
    await caller.wait_until_ended(seconds + 20)
    await callee.wait_until_ended(20)
    return CompletedCall(profile, caller, callee, seconds)


def measure_recording(recording: Path) -> RecordingMeasurement:
    """Measure the two-channel recording of a `CompletedCall`."""
    samples, rate = tones.load_audio(recording)
    seconds = len(samples) / rate
    left, right = samples[:, LEFT], samples[:, RIGHT]
    measured = (EDGE_SECONDS, seconds - EDGE_SECONDS)
    return RecordingMeasurement(
        seconds=seconds,
        caller_missing=tones.missing_milliseconds(left, rate, CALLER_HZ, *measured),
        callee_missing=tones.missing_milliseconds(right, rate, CALLEE_HZ, *measured),
        caller_leak=_leak(right, left, rate, CALLER_HZ),
        callee_leak=_leak(left, right, rate, CALLEE_HZ),
        announcement_at=find_announcement(recording, RIGHT),
    )


def _leak(other_channel: tones.Samples, own_channel: tones.Samples, rate: int, hz: float) -> float:
    # A window of 1 s, so that the announcement's own energy at that frequency counts little.
    own_amplitude = tones.tone_amplitude(own_channel, rate, hz, 1.0).mean()
    if not own_amplitude:
        return 0.0
    return float(tones.tone_amplitude(other_channel, rate, hz, 1.0).mean() / own_amplitude)


def find_announcement(recording: Path, channel: int) -> float | None:
    """Return the position in seconds of voxrec's default announcement on a channel, or None if it is not there."""
    with resources.as_file(
        resources.files("voxrec.calls.announcements").joinpath("sounds", "announcement.wav")
    ) as path:
        announcement, announcement_rate = tones.load_audio(path)
    samples, rate = tones.load_audio(recording)
    if rate != announcement_rate:
        samples = _decimated(samples, rate, announcement_rate)
    match = tones.find_interrupted_sound(
        announcement[:, 0], samples[:, min(channel, samples.shape[1] - 1)], announcement_rate
    )
    return match.seconds if match.score > MIN_MATCH_SCORE else None


def _decimated(samples: tones.Samples, rate: int, target_rate: int) -> tones.Samples:
    """Return every n-th sample, without a filter: sufficient to find speech whose band fits the lower rate."""
    if rate % target_rate:
        raise ValueError(f"{rate} Hz is not a multiple of {target_rate} Hz")
    return samples[:: rate // target_rate]
