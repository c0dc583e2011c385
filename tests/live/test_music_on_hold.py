"""Music on hold: the held party hears it. The recording contains what the caller hears, and what the far end says."""

from twisted.internet.defer import Deferred

from tests.live.live_test_case import LiveTestCase, make_stack
from voxrec.sandbox import demo_call, tones
from voxrec.sandbox.asterisk import LOOPBACK
from voxrec.sandbox.phone import Phone
from voxrec.sandbox.rootfs import ASTERISK_16
from voxrec.sandbox.stack import Stack

MUSIC_HZ = 1700.0
SECONDS = 7.0
CONFIGURATION = """\
[general]
[default]
mode = files
directory = {}
"""


class MusicOnHoldTests(LiveTestCase):
    async def start_stack(self) -> Stack:
        """Start a stack whose music on hold is a tone."""
        stack = make_stack({"calls": {"allowed_hosts": [LOOPBACK]}}, self.recipe)
        self.addCleanup(lambda: Deferred.fromCoroutine(stack.stop()))
        music = stack.asterisk.directory / "db" / "music"
        music.mkdir(parents=True)
        tones.write_tone(music / "tone.wav", MUSIC_HZ, 60.0)
        stack.asterisk.additions["musiconhold.conf"] = CONFIGURATION.format(stack.asterisk.path_inside(music))
        await stack.start()
        return stack

    async def hold_in_call(self, holder: str) -> None:
        """Place a call in which one party holds the other one for 2.5 s, and assert who hears the music."""
        stack = await self.start_stack()
        options = {"recordChannels": "dual", "recordPrompt": "none", "recordBeepAtStart": False, "record": True}
        profile, callee = await demo_call.create_profile_and_callee(stack, self.reactor, self.directory, **options)
        self.kill_at_end(callee)
        await self.sleep(0.3)
        tone = tones.write_tone(self.directory / "caller.tone.wav", demo_call.CALLER_HZ, 1.0)
        uri = f"sip:{profile['id']}@{stack.sip_host_port}"
        caller = Phone.make_caller(self.reactor, self.directory, uri, play=tone, seconds=SECONDS)
        self.kill_at_end(caller)
        await caller.start()
        await callee.wait_for("confirmed")
        await self.sleep(1.5)
        holding, held = (caller, callee) if holder == "caller" else (callee, caller)
        await holding.hold()
        await self.sleep(2.5)
        await holding.resume()
        await caller.wait_until_ended()
        await callee.wait_until_ended()
        recording = await stack.wait_for_recording(profile["id"])
        self.assertEqual(recording["state"], "completed", recording)
        self.assertEqual([e["by"] for e in recording["timeline"] if e["event"] in ("held", "unheld")], [holder] * 2)
        audio = self.directory / "recording.wav"
        audio.write_bytes((await stack.request("GET", f"/recordings/{recording['id']}/audio")).body)
        samples, rate = tones.load_audio(audio)
        # The far end's channel is what the caller hears; the caller's channel is what the caller sends.
        self.assertEqual(tones.tone_intervals(samples[:, demo_call.LEFT], rate, MUSIC_HZ), [])
        recorded = tones.tone_intervals(samples[:, demo_call.RIGHT], rate, MUSIC_HZ)
        self.assertEqual(len(recorded), 1 if held is caller else 0)
        for begin, end in recorded:
            self.assertApproximates(end - begin, 2.5, 0.5)
        received, received_rate = tones.load_audio(held.received_audio)
        (music,) = tones.tone_intervals(received[:, 0], received_rate, MUSIC_HZ)
        self.assertApproximates(music[1] - music[0], 2.5, 0.5)
        self.assertApproximates(len(samples) / rate, SECONDS, 0.4)

    async def test_a_held_caller(self) -> None:
        await self.hold_in_call("callee")

    async def test_a_held_far_end(self) -> None:
        await self.hold_in_call("caller")


class MusicOnHoldOnAsterisk16Tests(MusicOnHoldTests):
    """The same on Asterisk 16."""

    recipe = ASTERISK_16
