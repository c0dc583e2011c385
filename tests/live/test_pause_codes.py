"""Parties pause and resume a recording by DTMF, also during the announcement, and hear that it was done."""

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import soundfile

from tests.live.live_test_case import RecordedCallTestCase, shared_stack
from voxrec.sandbox import demo_call, tones
from voxrec.sandbox.media_stream import MediaStream
from voxrec.sandbox.noise import Samples16
from voxrec.sandbox.phone import Phone
from voxrec.sandbox.rootfs import ASTERISK_16
from voxrec.sandbox.scripted_peer import ScriptedPeer
from voxrec.sandbox.stack import Stack

_CODES: Final = {"recordPauseCode": "*1", "recordResumeCode": "*2"}
_PAUSED_HZ: Final = 587.0  # the longer tone of each confirmation: pausing goes down, resuming goes up
_RESUMED_HZ: Final = 740.0
_LEVEL_DBFS: Final = -25.0  # the tones are louder, and what the phones' tones have at these frequencies is not
_ROWS: Final = {"1": 697, "2": 697, "*": 941}
_COLUMNS: Final = {"1": 1209, "2": 1336, "*": 1209}


def dtmf(digits: str, rate: int = 8000) -> Samples16:
    """Return the tones of digits (ITU-T Q.23), 100 ms each with 100 ms between them."""
    time = np.arange(round(0.1 * rate)) / rate
    gap = np.zeros(len(time))
    parts = [
        part
        for digit in digits
        for part in (np.sin(2 * np.pi * _ROWS[digit] * time) + np.sin(2 * np.pi * _COLUMNS[digit] * time), gap)
    ]
    return (np.concatenate(parts) * 6000).astype(np.int16)


def write_tone_with_digits(path: Path, digits: Mapping[float, str], seconds: float, rate: int = 8000) -> Path:
    """Write the caller's tone, with digits at the times (in seconds) that are the keys of ``digits``."""
    audio = (6000 * np.sin(2 * np.pi * demo_call.CALLER_HZ / rate * np.arange(round(seconds * rate)))).astype(np.int16)
    for at, pressed in digits.items():
        keyed = dtmf(pressed, rate)
        audio[round(at * rate) : round(at * rate) + len(keyed)] = keyed
    soundfile.write(path, audio, rate)
    return path


class PauseCodeTests(RecordedCallTestCase):
    async def test_code_during_the_announcement(self) -> None:
        for presser in ("caller", "callee"):
            stack, profile, caller, callee = await self.start_call(6.0, recordPrompt="default", **_CODES)
            await self.sleep(0.3)
            party = caller if presser == "caller" else callee
            await party.send_dtmf("*1")
            await self.sleep(3)
            await party.send_dtmf("*2")
            recording, samples, rate = await self.finished_recording(stack, profile, caller)
            at = self.event_times(recording)
            self.assertLess(at["paused"], at["announcement.finished"])
            self.assert_paused(recording, samples, rate, 1)
            self.assert_tones(samples, rate, [(at["resumed"] + 0.1, len(samples) / rate - 0.3)])

    async def test_only_the_party_that_pressed_hears_the_confirmation(self) -> None:
        stack, profile, caller, callee = await self.start_call(7.0, **_CODES)
        await self.sleep(1)
        await callee.send_dtmf("*1")
        await self.sleep(2)
        await callee.send_dtmf("*2")
        recording, samples, rate = await self.finished_recording(stack, profile, caller)
        self.assert_paused(recording, samples, rate, 1)
        at = self.event_times(recording)
        self.assertGreater(at["resumed"] - at["paused"], 1.5)
        for hz in (_PAUSED_HZ, _RESUMED_HZ):  # each for 120 and for 200 ms
            self.assertGreater(self.heard(callee, hz), 0.1, f"{hz} Hz at the callee")
            self.assertEqual(self.heard(caller, hz), 0.0, f"{hz} Hz at the caller")
            for channel in (0, 1):
                recorded = tones.tone_intervals(samples[:, channel], rate, hz, threshold_dbfs=_LEVEL_DBFS)
                self.assertEqual(recorded, [], f"{hz} Hz was recorded")

    def heard(self, phone: Phone, hz: float) -> float:
        """Return the seconds for which a party has heard a tone."""
        received, rate = tones.load_audio(phone.received_audio)
        intervals = tones.tone_intervals(received[:, 0], rate, hz, threshold_dbfs=_LEVEL_DBFS)
        return sum(end - start for start, end in intervals)


class TonesAlthoughEventsWereAgreedTests(RecordedCallTestCase):
    """A phone that agrees to events (RFC 4733), and sends tones: Asterisk does not look for them."""

    async def test_nothing_of_the_pause_is_kept(self) -> None:
        stack = await shared_stack(self.recipe)
        profile, callee = await demo_call.create_profile_and_callee(
            stack,
            self.reactor,
            self.directory,
            **{"record": True, "recordChannels": "dual", "recordBeepAtStart": False, **_CODES},
        )
        self.kill_at_end(callee)
        caller = Phone.make_caller(
            self.reactor,
            self.directory,
            f"sip:{profile['id']}@{stack.sip_host_port}",
            name="caller",
            play=write_tone_with_digits(self.directory / "caller.wav", {1.5: "*1", 4.0: "*2"}, 7.0),
            seconds=7.0,
        )
        self.kill_at_end(caller)
        await caller.start()
        recording, samples, rate = await self.finished_recording(stack, profile["id"], caller)
        pauses = [(one["event"], one["by"], one["detail"]) for one in recording["timeline"] if "detail" in one]
        self.assertEqual(pauses, [("paused", "caller", "in-band"), ("resumed", "caller", "in-band")])
        ((paused, resumed),) = self.pauses(recording)
        self.assertApproximates(resumed - paused, 2.8, 0.1)  # both codes included
        silent = samples[int((paused + 0.03) * rate) : int((resumed - 0.03) * rate)]
        self.assertEqual(abs(silent).max(), 0.0)
        self.assert_tones(samples, rate, [(0.3, paused - 0.1), (resumed + 0.1, 6.5)])
        for hz in (*_ROWS.values(), *_COLUMNS.values()):
            self.assertEqual(tones.tone_intervals(samples[:, 0], rate, hz, threshold_dbfs=_LEVEL_DBFS), [], f"{hz} Hz")


class TonesAlthoughEventsWereAgreedOnAsterisk16Tests(TonesAlthoughEventsWereAgreedTests):
    """The same test on Asterisk 16."""

    recipe = ASTERISK_16


class PauseCodeOnAsterisk16Tests(PauseCodeTests):
    """The same tests on Asterisk 16."""

    recipe = ASTERISK_16


class PartyWithoutEventsTests(RecordedCallTestCase):
    """Parties that do not know RFC 4733."""

    async def start(self, stream: MediaStream) -> tuple[Stack, dict[str, Any], ScriptedPeer]:
        stack = await shared_stack(self.recipe)
        profile, callee = await demo_call.create_profile_and_callee(
            stack,
            self.reactor,
            self.directory,
            **{"record": True, "recordChannels": "dual", "recordBeepAtStart": False, **_CODES},
        )
        self.kill_at_end(callee)
        peer = ScriptedPeer(self.reactor, stack.asterisk.sip_address, stream).start()
        self.addCleanup(peer.close)
        self.assertEqual((await peer.call(profile["id"])).status, 200)
        return stack, profile, peer

    async def pauses_of_call(self, stack: Stack, profile: dict[str, Any], peer: ScriptedPeer) -> list[tuple[str, str]]:
        """End the call, and return which party has paused and resumed."""
        await peer.hang_up_call()
        recording = await stack.wait_for_recording(profile["id"])
        self.assertEqual(recording["state"], "completed")
        await self.assert_asterisk_is_idle(stack)
        return [(one["event"], one["by"]) for one in recording["timeline"] if one["event"] in ("paused", "resumed")]

    async def test_tones_in_the_audio(self) -> None:
        stack, profile, peer = await self.start(DtmfStream({1.0: "*1", 2.5: "*2"}, seconds=4.0))
        await self.sleep(4.0)
        self.assertEqual(await self.pauses_of_call(stack, profile, peer), [("paused", "caller"), ("resumed", "caller")])

    async def test_sip_info(self) -> None:
        stack, profile, peer = await self.start(MediaStream(seed=3, seconds=4.0))
        await self.sleep(1.0)
        for digit in "*1":
            self.assertEqual((await peer.send_info(digit)).status, 200)
        await self.sleep(1.0)
        for digit in "*2":
            await peer.send_info(digit)
        await self.sleep(1.0)
        self.assertEqual(await self.pauses_of_call(stack, profile, peer), [("paused", "caller"), ("resumed", "caller")])


class PartyWithoutEventsOnAsterisk16Tests(PartyWithoutEventsTests):
    """The same tests on Asterisk 16."""

    recipe = ASTERISK_16


class DtmfStream(MediaStream):
    """Media with the tones of digits in the noise, at the times (in seconds) that are the keys of ``digits``."""

    def __init__(self, digits: dict[float, str], *, seconds: float) -> None:
        self._digits = digits
        super().__init__(seed=secrets.randbelow(1000), seconds=seconds)

    def make_audio(self) -> Samples16:
        """Return silence with the tones."""
        audio = (super().make_audio() // 100).astype(np.int16)
        for at, digits in self._digits.items():
            tones_ = dtmf(digits, self.codec.rate)
            start = round(at * self.codec.rate)
            audio[start : start + len(tones_)] = tones_
        return audio
