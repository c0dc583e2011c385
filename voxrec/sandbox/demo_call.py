"""One telephone conversation between two phones through a running stack, and what can be heard of it.

The caller sounds at one frequency and the far end at another, so that every sample tells whose it is.
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
EDGE = 0.3  # seconds at the ends of a recording that may belong to the set-up and the hang-up
TOLERATED = 60.0  # milliseconds of tone: a busy machine costs a phone or Asterisk a packet of 20 ms now and then
FOUND = 0.5  # a score of `tones.find` above which a sound was there


@dataclass(frozen=True, slots=True)
class Conversation:
    """A call that took place: its Profile, its two phones, and the seconds that the caller talked."""

    profile: dict[str, Any]
    caller: Phone
    desk: Phone
    seconds: float


class Heard(msgspec.Struct, frozen=True):
    """What a two-channel recording holds; times in seconds, gaps in milliseconds.

    ``caller_missing`` and ``callee_missing`` say for how long each side's tone is away on its own channel, and
    ``caller_leaked`` and ``callee_leaked`` how loud it is on the other's, as a part of its own.
    """

    seconds: float
    caller_missing: float
    callee_missing: float
    caller_leaked: float
    callee_leaked: float
    announcement_at: float | None

    def faults(self) -> list[str]:
        """What is wrong with it, as a person would say it."""
        found = []
        if self.caller_missing > TOLERATED:
            found.append(f"{self.caller_missing:.0f} ms of the caller are missing on the left")
        if self.callee_missing > TOLERATED:
            found.append(f"{self.callee_missing:.0f} ms of the far end are missing on the right")
        if max(self.caller_leaked, self.callee_leaked) > 0.01:
            found.append("one side is heard on the other's channel")
        if self.announcement_at is None:
            found.append("the announcement is not there")
        return found


async def set_up(stack: Stack, reactor: Any, directory: Path, **profile: Any) -> tuple[dict[str, Any], Phone]:
    """Start a phone that answers, and make a Profile that leads to it."""
    tone = tones.make_tone(directory / "desk.tone.wav", CALLEE_HZ, 1.0)
    desk = await Phone.answering(reactor, directory, name="desk", play=tone, ring_seconds=0.2).start()
    made: dict[str, Any] = await stack.ask("PUT", "/profiles", {"remoteSipUri": desk.uri, **profile})
    return made, desk


async def converse(
    stack: Stack, reactor: Any, directory: Path, profile: dict[str, Any], desk: Phone, seconds: float, **caller: Any
) -> Conversation:
    """Call the Profile, talk for so many seconds, and hang up as the caller."""
    tone = tones.make_tone(directory / "caller.tone.wav", CALLER_HZ, 1.0)
    phone = Phone.calling(
        reactor,
        directory,
        f"sip:{profile['id']}@{stack.sip}",
        name="caller",
        play=tone,
        seconds=seconds,
        **{"number": "+4930901820", "display_name": "Alice Example", **caller},
    )
    await phone.start()
    await phone.wait_for("confirmed", 20)
    await phone.ended(seconds + 20)
    await desk.ended(20)
    return Conversation(profile, phone, desk, seconds)


def listen(recording: Path) -> Heard:
    """Measure a two-channel recording of a `Conversation`."""
    samples, rate = tones.load(recording)
    seconds = len(samples) / rate
    left, right = samples[:, LEFT], samples[:, RIGHT]
    span = (EDGE, seconds - EDGE)
    return Heard(
        seconds=seconds,
        caller_missing=tones.missing(left, rate, CALLER_HZ, *span),
        callee_missing=tones.missing(right, rate, CALLEE_HZ, *span),
        caller_leaked=_leak(right, left, rate, CALLER_HZ),
        callee_leaked=_leak(left, right, rate, CALLEE_HZ),
        announcement_at=announced(recording, RIGHT),
    )


def _leak(other: tones.Samples, own: tones.Samples, rate: int, hz: float) -> float:
    # over a tenth of a second, so that the announcement's own sound at that frequency counts little
    loud = tones.energy(own, rate, hz, 1.0).mean()
    return float(tones.energy(other, rate, hz, 1.0).mean() / loud) if loud else 0.0


def announced(recording: Path, channel: int) -> float | None:
    """When voxrec's default announcement begins on a channel; None where it is not there."""
    with resources.as_file(resources.files("voxrec.calls").joinpath("sounds", "announcement.wav")) as path:
        announcement, announcement_rate = tones.load(path)
    samples, rate = tones.load(recording)
    if rate != announcement_rate:
        samples = _resampled(samples, rate, announcement_rate)
    match = tones.find(announcement[:, 0], samples[:, min(channel, samples.shape[1] - 1)], announcement_rate)
    return match.seconds if match.score > FOUND else None


def _resampled(samples: tones.Samples, rate: int, wanted: int) -> tones.Samples:
    """Every n-th sample: enough to recognise speech whose band is narrower than the lower rate's."""
    if rate % wanted:
        raise ValueError(f"{rate} Hz is no multiple of {wanted} Hz")
    return samples[:: rate // wanted]
