"""Calls with three parties: all voices are in the recording, those of the far end's side in its channel."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from tests.live.live_test_case import PROFILE_SECONDS, LiveTestCase, shared_stack
from voxrec.sandbox.fidelity import Track, measure_heard, measure_track
from voxrec.sandbox.media_stream import MediaStream
from voxrec.sandbox.noise import Samples16, make_noise
from voxrec.sandbox.rootfs import ASTERISK_16
from voxrec.sandbox.rtp import Impairments
from voxrec.sandbox.scripted_peer import ScriptedPeer, rtp_address
from voxrec.sandbox.stack import Stack
from voxrec.sandbox.tones import load_audio

TURN: Final = 1.5  # seconds for which one party talks
CONFERENCE: Final = "conference"  # extension of the conference server


class TwoVoices(MediaStream):
    """The media of a telephone that conferences: its own party, and from the middle on the third one."""

    def make_audio(self) -> Samples16:
        rate, half = self.codec.rate, self._seconds / 2
        voices: Samples16 = np.concatenate([make_noise(half, rate, seed) for seed in (2, 3)])
        return voices


class Listener(ScriptedPeer):
    """A party that is silent until `talk` is called."""

    _address_of_media: tuple[str, int]

    def _send_media(self, remote_sdp: str) -> None:
        self._address_of_media = rtp_address(remote_sdp)

    def talk(self) -> None:
        """Send the audio."""
        self.media.send(self._address_of_media)


class ThreeWayTests(LiveTestCase):
    async def start_peer(self, stack: Stack, media: MediaStream) -> ScriptedPeer:
        peer = ScriptedPeer(self.reactor, stack.asterisk.sip_address, media).start()
        self.addCleanup(peer.close)
        return peer

    async def call_recorded(self, stack: Stack, caller: ScriptedPeer, remote_sip_uri: str) -> str:
        """Call a far end, and return the id of the Profile."""
        fields = {"recordChannels": "dual", "recordBeepAtStart": False, "recordPrompt": "none"}
        profile = await stack.request_json(
            "PUT", "/profiles", {"remoteSipUri": remote_sip_uri, "record": True, **fields}
        )
        await self.sleep(PROFILE_SECONDS)
        self.assertEqual((await caller.call(profile["id"])).status, 200)
        identifier: str = profile["id"]
        return identifier

    async def channels_of(self, stack: Stack, profile: str) -> tuple[Sequence[Samples16], int]:
        """Return both channels of the recording of a call that has ended, and their rate."""
        recording = await stack.wait_for_recording(profile)
        self.assertEqual(recording["state"], "completed", recording)
        path = self.directory / "recording.wav"
        path.write_bytes((await stack.request("GET", f"/recordings/{recording['id']}/audio")).body)
        samples, rate = load_audio(path)
        converted = (samples * 32768).round().astype("int16")
        return [converted[:, channel] for channel in (0, 1)], rate

    def assert_complete(self, track: Track, share: float = 0.95) -> None:
        self.assertGreater(track.sent, 100 * TURN / 2)
        self.assertGreater(track.found, share * track.sent)

    async def test_telephone_that_conferences(self) -> None:
        """The far end holds the call, calls a third party, and connects both.

        Its sequence numbers are so high that a decoder drops them after the music on hold, whose frames have none.
        """
        stack = await shared_stack(self.recipe)
        seconds = 4 * TURN
        caller = await self.start_peer(stack, MediaStream(seed=1, seconds=seconds))
        far_end = await self.start_peer(
            stack, TwoVoices(seed=2, seconds=seconds, impairments=Impairments(first_sequence=40_000))
        )
        profile = await self.call_recorded(stack, caller, far_end.uri)
        await self.sleep(TURN)
        self.assertEqual((await far_end.reinvite(hold=True)).status, 200)
        await self.sleep(TURN)
        self.assertEqual((await far_end.reinvite()).status, 200)
        await self.sleep(2 * TURN)
        await caller.hang_up_call()
        (left, right), rate = await self.channels_of(stack, profile)
        self.assert_complete(measure_track(caller.media, left, rate))
        self.assert_complete(measure_track(far_end.media, right, rate))

    async def start_conference(self, stack: Stack) -> None:
        """Let this Asterisk be the conference server of the far end as well."""
        settings = stack.asterisk.directory / "etc" / "confbridge.conf"
        settings.write_text("[general]\n[default_user]\ntype = user\nquiet = yes\n[default_bridge]\ntype = bridge\n")

        async def run(*commands: str) -> None:
            for command in commands:
                await stack.asterisk.run_console_command(self.reactor, command)

        await run(
            "module load app_confbridge.so",
            f"dialplan add extension {CONFERENCE},1,Answer() into from-trunk",
            f"dialplan add extension {CONFERENCE},2,ConfBridge({CONFERENCE}) into from-trunk",
        )
        removal = f"dialplan remove extension {CONFERENCE}@from-trunk"
        self.addCleanup(run, removal, "module unload app_confbridge.so")

    async def test_conference_server(self) -> None:
        stack = await shared_stack(self.recipe)
        await self.start_conference(stack)
        host, port = stack.asterisk.sip_address
        parties: list[Listener] = []
        for seed in (2, 3):
            media = MediaStream(seed=seed, seconds=TURN)
            party = Listener(self.reactor, (host, port), media)
            party.start()
            self.addCleanup(party.close)
            self.assertEqual((await party.call(CONFERENCE)).status, 200)
            parties.append(party)
        caller = await self.start_peer(stack, MediaStream(seed=1, seconds=2.5 * TURN))
        profile = await self.call_recorded(stack, caller, f"sip:{CONFERENCE}@{host}:{port}")
        await self.sleep(TURN / 2)
        for party in parties:
            party.talk()
            await self.sleep(1.3 * TURN)
        await caller.hang_up_call()
        for party in parties:
            await party.hang_up_call()
        (left, right), rate = await self.channels_of(stack, profile)
        self.assert_complete(measure_track(caller.media, left, rate))
        for party in parties:
            heard = measure_heard(party.media, caller.media).track
            self.assert_complete(heard, 0.8)  # what the conference server makes of it
            self.assertGreaterEqual(measure_track(party.media, right, rate).found, 0.95 * heard.found)


class ThreeWayOnAsterisk16Tests(ThreeWayTests):
    """The same on Asterisk 16."""

    recipe = ASTERISK_16
