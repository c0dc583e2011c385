"""A custom announcement, from its upload to both parties' ears."""

import io
from pathlib import Path

import msgspec
import numpy as np
import soundfile
import treq
from twisted.web.http_headers import Headers

from tests.live.gateway import GatewayTestCase, shared_stack
from tests.live.test_calls import asterisk_of
from voxrec.sandbox import demo_call, tones
from voxrec.sandbox.rootfs import ASTERISK_16
from voxrec.sandbox.stack import Stack

RATE = 44100
SOUND_RATE = 8000


def chirp(rate: int, seconds: float = 1.5) -> tones.Samples:
    """A sound unlike any other here: up and down between 500 and 2500 Hz, away from the phones' tones for the most."""
    time = np.arange(round(seconds * rate)) / rate
    frequency = 1500 + 1000 * np.sin(2 * np.pi * 1.7 * time)
    wave: tones.Samples = 0.4 * np.sin(2 * np.pi * np.cumsum(frequency) / rate)
    return wave


class PromptTests(GatewayTestCase):
    async def upload(self, stack: Stack) -> str:
        prompt: dict[str, str] = await stack.request_json("PUT", "/prompts", {"name": "chirp"})
        file = io.BytesIO()
        soundfile.write(file, np.stack([chirp(RATE)] * 2, axis=1), RATE, format="FLAC")
        answer = await treq.put(
            f"{stack.url}/prompts/{prompt['id']}/audio",
            data=file.getvalue(),
            headers=Headers({"Authorization": [f"Bearer {stack.token}"], "Content-Type": ["audio/flac"]}),
            persistent=False,
        )
        told = msgspec.json.decode(await answer.content())
        self.assertEqual(answer.code, 200, told)
        self.assertAlmostEqual(told["duration"], 1.5, places=2)
        name = f"prompt-{prompt['id']}-{told['sha256'][:16]}.wav"

        async def installed() -> bool:
            return (stack.asterisk.sounds_directory / name).exists()

        self.assertTrue(await stack.wait_until(installed, 10), "the announcement is not installed")
        return prompt["id"]

    def found(self, path: Path, channel: int) -> float:
        """How surely the announcement is on a channel."""
        samples, rate = tones.load_audio(path)
        return tones.find_sound(chirp(rate), samples[:, min(channel, samples.shape[1] - 1)], rate).score

    async def test_it_is_heard_by_both_and_recorded(self) -> None:
        stack = await shared_stack(self.recipe)
        prompt = await self.upload(stack)
        profile, callee = await demo_call.create_profile_and_callee(
            stack,
            self.reactor,
            self.directory,
            record=True,
            recordChannels="dual",
            recordPrompt="custom",
            recordPromptCustomId=prompt,
            recordBeepAtStart=False,
        )
        self.phone(callee)
        refused = await stack.request("DELETE", f"/prompts/{prompt}")
        self.assertEqual(refused.status, 409)
        self.assertIn(profile["id"], refused.body.decode())
        call = await demo_call.place_call(stack, self.reactor, self.directory, profile, callee, 4.0)
        recording = await stack.wait_for_recording(profile["id"])
        events = [entry["event"] for entry in recording["timeline"]]
        self.assertIn("announcement.finished", events)
        answer = await stack.request("GET", f"/recordings/{recording['id']}/audio")
        path = self.directory / "recording.wav"
        path.write_bytes(answer.body)
        heard = {
            "recording": self.found(path, demo_call.RIGHT),
            "caller": self.found(call.caller.received_audio, 0),
            "far end": self.found(call.callee.received_audio, 0),
        }
        for where, score in heard.items():
            self.assertGreater(
                score, demo_call.MIN_MATCH_SCORE, f"the announcement is not in what the {where} has: {heard}"
            )
        self.assertIsNone(
            demo_call.find_announcement(path, demo_call.RIGHT), "the default announcement was played as well"
        )
        await self.assert_nothing_left(stack, asterisk_of(stack, self.reactor))

    async def test_one_without_audio_is_told(self) -> None:
        stack = await shared_stack(self.recipe)
        prompt = await stack.request_json("PUT", "/prompts", {"name": "silent"})
        profile, callee = await demo_call.create_profile_and_callee(
            stack,
            self.reactor,
            self.directory,
            record=True,
            recordPrompt="custom",
            recordPromptCustomId=prompt["id"],
        )
        self.phone(callee)
        await demo_call.place_call(stack, self.reactor, self.directory, profile, callee, 2.0)
        recording = await stack.wait_for_recording(profile["id"])
        self.assertIn("announcement.failed", [entry["event"] for entry in recording["timeline"]])
        self.assertEqual(recording["state"], "completed")


class PromptOn16Tests(PromptTests):
    """The same on the older Asterisk."""

    recipe = ASTERISK_16
