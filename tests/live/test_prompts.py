"""A custom announcement from its upload to the audio of both parties and of the recording."""

import io
from pathlib import Path

import msgspec
import numpy as np
import soundfile
import treq
from twisted.web.http_headers import Headers

from tests.live.live_test_case import LiveTestCase, shared_stack
from voxrec.sandbox import demo_call, tones
from voxrec.sandbox.rootfs import ASTERISK_16
from voxrec.sandbox.stack import Stack

RATE = 44100
SOUND_RATE = 8000


def chirp(rate: int, seconds: float = 1.5) -> tones.Samples:
    """Return a sound that differs from all others here: between 500 and 2500 Hz, mostly away from the phones' tones."""
    time = np.arange(round(seconds * rate)) / rate
    frequency = 1500 + 1000 * np.sin(2 * np.pi * 1.7 * time)
    wave: tones.Samples = 0.4 * np.sin(2 * np.pi * np.cumsum(frequency) / rate)
    return wave


class PromptTests(LiveTestCase):
    async def upload(self, stack: Stack) -> str:
        prompt: dict[str, str] = await stack.request_json("PUT", "/prompts", {"name": "chirp"})
        file = io.BytesIO()
        soundfile.write(file, np.stack([chirp(RATE)] * 2, axis=1), RATE, format="FLAC")
        response = await treq.put(
            f"{stack.url}/prompts/{prompt['id']}/audio",
            data=file.getvalue(),
            headers=Headers({"Authorization": [f"Bearer {stack.token}"], "Content-Type": ["audio/flac"]}),
            persistent=False,
        )
        uploaded = msgspec.json.decode(await response.content())
        self.assertEqual(response.code, 200, uploaded)
        self.assertAlmostEqual(uploaded["duration"], 1.5, places=2)
        name = f"prompt-{prompt['id']}-{uploaded['sha256'][:16]}.wav"

        async def installed() -> bool:
            return (stack.asterisk.sounds_directory / name).exists()

        self.assertTrue(await stack.wait_until(installed, 30), "the announcement was not installed")
        return prompt["id"]

    def chirp_score(self, path: Path, channel: int) -> float:
        """Return the match score of the announcement on a channel."""
        samples, rate = tones.load_audio(path)
        return tones.find_sound(chirp(rate), samples[:, min(channel, samples.shape[1] - 1)], rate).score

    async def test_both_parties_and_the_recording_have_the_announcement(self) -> None:
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
        self.kill_at_end(callee)
        deletion = await stack.request("DELETE", f"/prompts/{prompt}")
        self.assertEqual(deletion.status, 409)
        self.assertIn(profile["id"], deletion.body.decode())
        call = await demo_call.place_call(stack, self.reactor, self.directory, profile, callee, 4.0)
        recording = await stack.wait_for_recording(profile["id"])
        events = self.events(recording)
        self.assertIn("announcement.finished", events)
        response = await stack.request("GET", f"/recordings/{recording['id']}/audio")
        path = self.directory / "recording.wav"
        path.write_bytes(response.body)
        scores = {
            "recording": self.chirp_score(path, demo_call.RIGHT),
            "caller": self.chirp_score(call.caller.received_audio, 0),
            "far end": self.chirp_score(call.callee.received_audio, 0),
        }
        for where, score in scores.items():
            self.assertGreater(
                score, demo_call.MIN_MATCH_SCORE, f"the announcement is not in the audio of the {where}: {scores}"
            )
        self.assertIsNone(
            demo_call.find_announcement(path, demo_call.RIGHT), "the default announcement was played as well"
        )
        await self.assert_asterisk_is_idle(stack)

    async def test_a_prompt_without_audio_is_a_failed_announcement(self) -> None:
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
        self.kill_at_end(callee)
        await demo_call.place_call(stack, self.reactor, self.directory, profile, callee, 2.0)
        recording = await stack.wait_for_recording(profile["id"])
        self.assertIn("announcement.failed", self.events(recording))
        self.assertEqual(recording["state"], "completed")


class PromptOnAsterisk16Tests(PromptTests):
    """The same tests on Asterisk 16."""

    recipe = ASTERISK_16
