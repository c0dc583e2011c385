"""Live listening: what is heard, that the call and its recording are unaffected, and that nothing stays behind."""

from typing import Any

import numpy as np

from tests.live.live_test_case import LiveTestCase, RecordedCallTestCase, make_stack, shared_stack
from voxrec.sandbox import demo_call, tones
from voxrec.sandbox.fidelity import measure_track
from voxrec.sandbox.impaired_call import ImpairedCall, Party
from voxrec.sandbox.live_listener import LiveListener
from voxrec.sandbox.noise import find_pieces
from voxrec.sandbox.observer import observe_asterisk
from voxrec.sandbox.phone import Phone
from voxrec.sandbox.rootfs import ASTERISK_16
from voxrec.sandbox.rtp import G722_CODEC
from voxrec.sandbox.stack import Stack

_SECOND_HZ = 1300.0  # of the party to which a call is transferred
_NOTICE_HZ = 1500.0
_QUEUED_SECONDS = 0.1  # what was said before a pause and is heard after its beginning


async def listening_token(stack: Stack, role: str = "supervise") -> str:
    """Return the secret of a new token that permits listening."""
    token = await stack.request_json("PUT", "/tokens", {"name": "ear", "role": role, "listenLive": True})
    return str(token["token"])


class ListeningMixin(LiveTestCase):
    async def listen(self, stack: Stack, side: str = "") -> LiveListener:
        """Listen to the only call."""
        (call,) = await stack.request_json("GET", "/calls")
        self.call_id = call["id"]
        listener = await LiveListener.listen(self.reactor, stack, call["id"], await listening_token(stack), side)
        self.addCleanup(self.leave, listener)
        return listener

    async def leave(self, listener: LiveListener) -> None:
        if not listener.ended.called:
            listener.leave()
            await listener.ended

    async def hear(self, stack: Stack, listener: LiveListener, seconds: float) -> None:
        """Wait until a listener has heard so many seconds more."""
        wanted = listener.seconds + seconds

        async def heard() -> bool:
            return listener.seconds >= wanted

        self.assertTrue(await stack.wait_until(heard, 30), f"heard {listener.seconds:.1f} of {wanted:.1f} s")

    async def channels(self, stack: Stack) -> list[str]:
        """Return the names of the channels of live listening in Asterisk."""
        channels = await observe_asterisk(stack, self.reactor).list_channels()
        return sorted(channel.name for channel in channels if channel.name.startswith(("Snoop/", "UnicastRTP/")))

    async def assert_no_channels(self, stack: Stack) -> None:
        """Assert that nothing of live listening is left in Asterisk, within 30 s."""
        left: list[str] = []

        async def gone() -> bool:
            left[:] = await self.channels(stack)
            return not left

        self.assertTrue(await stack.wait_until(gone, 30), left)

    async def audit_entry(self, stack: Stack) -> dict[str, Any]:
        """Return the audit entry of the listening, once it has ended."""
        entries: list[dict[str, Any]] = []

        async def ended() -> bool:
            path = f"/calls/{self.call_id}/audio"
            entries[:] = [one for one in await stack.request_json("GET", "/audit?limit=20") if one["path"] == path]
            return bool(entries) and entries[0]["outcome"] == "done"

        self.assertTrue(await stack.wait_until(ended, 30), entries)
        return entries[0]


class ListeningTests(ListeningMixin, RecordedCallTestCase):
    async def test_both_sides_are_heard_and_the_recording_is_unaffected(self) -> None:
        stack = await shared_stack(self.recipe)
        call = ImpairedCall(stack, self.reactor, self.directory, seconds=5.0)
        self.addCleanup(call.close)
        profile = await call.place()
        await self.wait_until_talking(stack)
        listener = await self.listen(stack)
        await self.hear(stack, listener, 2.0)
        (shown,) = await stack.request_json("GET", "/calls")
        self.assertEqual([(one["who"], one["side"]) for one in shown["listeners"]], [("ear", "both")])
        self.assertEqual(len(await self.channels(stack)), 4)
        await self.leave(listener)
        await self.assert_no_channels(stack)
        (shown,) = await stack.request_json("GET", "/calls")
        self.assertEqual(shown["listeners"], [])
        await call.wait_until_sent()
        fidelity = await call.finish(profile)
        heard = listener.samples
        for channel, peer in enumerate((call.caller, call.callee)):
            media = peer.media
            pieces = find_pieces(media.noise, media.codec.rate, np.ascontiguousarray(heard[:, channel]), listener.rate)
            self.assertGreater(len(pieces), 160, "pieces of 10 ms, of 2 s")
            self.assertGreater(sum(piece.exact for piece in pieces), 0.9 * len(pieces))
            indices = [piece.index for piece in pieces]
            self.assertEqual(indices, sorted(indices))
        for track in (fidelity.left, fidelity.right):
            assert track is not None
            self.assertEqual(track.exact, track.found, "the recording is bit-exact")
            self.assertGreater(track.found, 0.9 * track.sent, track)  # a busy machine loses packets
        entry = await self.audit_entry(stack)
        self.assertEqual((entry["who"], entry["reason"]), ("ear", "the client has disconnected"))
        self.assertGreater(entry["seconds"], 1.9)

    async def test_a_wideband_call_is_heard_in_wideband(self) -> None:
        stack = await shared_stack(self.recipe)
        wideband = Party(codecs=(G722_CODEC,))
        call = ImpairedCall(stack, self.reactor, self.directory, caller=wideband, callee=wideband, seconds=4.0)
        self.addCleanup(call.close)
        profile = await call.place()
        await self.wait_until_talking(stack)
        listener = await self.listen(stack)
        await self.hear(stack, listener, 2.0)
        await self.leave(listener)
        await call.wait_until_sent()
        await call.finish(profile)
        self.assertEqual(listener.rate, 16_000)
        for channel, peer in enumerate((call.caller, call.callee)):
            heard = measure_track(peer.media, np.ascontiguousarray(listener.samples[:, channel]), listener.rate)
            self.assertGreater(heard.found, 160, "pieces of 10 ms, of 2 s")
            self.assertGreater(heard.snr_db, 40.0, "18 dB with 8 kHz")

    async def test_a_pause_is_silent_and_the_end_of_the_call_ends_the_stream(self) -> None:
        stack, profile, caller, _callee = await self.start_call(10.0)
        await self.wait_until_talking(stack)
        path = await self.live_recording_path(stack, profile)
        listener = await self.listen(stack)
        await self.hear(stack, listener, 2.0)
        await stack.request_json("POST", path, {"state": "paused"})
        paused = listener.seconds
        await self.hear(stack, listener, 1.5)
        resumed = listener.seconds
        await stack.request_json("POST", path, {"state": "recording"})
        await self.hear(stack, listener, 2.5)
        await listener.ended
        samples, rate = listener.samples / 32768, listener.rate
        silent = samples[round((paused + _QUEUED_SECONDS) * rate) : round(resumed * rate)]
        self.assertGreater(len(silent), rate)
        self.assertEqual(abs(silent).max(), 0.0)
        for start, end in ((0.5, paused - 0.3), (resumed + 1.6, listener.seconds - 0.5)):
            for channel, hz in ((demo_call.LEFT, demo_call.CALLER_HZ), (demo_call.RIGHT, demo_call.CALLEE_HZ)):
                missing = tones.missing_milliseconds(samples[:, channel], rate, hz, start, end)
                self.assertLess(missing, 100 * (end - start), f"{hz} Hz from {start} to {end}")
        leak = tones.tone_amplitude(samples[:, 0], rate, demo_call.CALLEE_HZ, 1.0).max()
        self.assertLess(leak, 0.001, "the far end is heard on the side of the caller")
        self.assertEqual((await self.audit_entry(stack))["reason"], "the call has ended")
        recording, recorded, recorded_rate = await self.finished_recording(stack, profile, caller)
        self.assert_paused(recording, recorded, recorded_rate, 1)


class ListeningOnAsterisk16Tests(ListeningTests):
    """The same tests on Asterisk 16."""

    recipe = ASTERISK_16


class TransferTests(ListeningMixin, RecordedCallTestCase):
    async def test_listening_follows_a_transfer(self) -> None:
        stack, profile, caller, callee = await self.start_call(14.0)
        await self.wait_until_talking(stack)
        tone = tones.write_tone(self.directory / "second.tone.wav", _SECOND_HZ, 1.0)
        second = await Phone.make_callee(
            self.reactor, self.directory, name="second", play=tone, ring_seconds=0.2
        ).start()
        self.kill_at_end(second)
        listener = await self.listen(stack)
        await self.hear(stack, listener, 1.0)
        await callee.transfer(second.uri)
        await second.wait_for("confirmed")
        await self.hear(stack, listener, 3.0)
        heard, rate = listener.samples / 32768, listener.rate
        self.assertFalse(listener.ended.called)
        for channel, hz in ((demo_call.LEFT, demo_call.CALLER_HZ), (demo_call.RIGHT, _SECOND_HZ)):
            last = heard[-rate:, channel]
            self.assertLess(tones.missing_milliseconds(last, rate, hz, 0.0, 1.0), 200.0, f"{hz} Hz after the transfer")
        await self.leave(listener)
        await self.assert_no_channels(stack)
        await stack.request("DELETE", f"/calls/{self.call_id}")
        await self.finished_recording(stack, profile, caller)


class TransferOnAsterisk16Tests(TransferTests):
    """The same test on Asterisk 16."""

    recipe = ASTERISK_16


class AsteriskFailureTests(ListeningMixin, RecordedCallTestCase):
    async def test_asterisk_is_killed(self) -> None:
        stack = await shared_stack(self.recipe)
        for attempt in ("before the failure", "after the recovery"):
            call = ImpairedCall(stack, self.reactor, self.directory, seconds=30.0)
            self.addCleanup(call.close)
            await call.place()
            await self.wait_until_talking(stack)
            listener = await self.listen(stack)
            await self.hear(stack, listener, 1.0)
            if attempt == "before the failure":
                stack.asterisk.kill()
                await stack.asterisk.restart(self.reactor)
            else:
                await stack.request("DELETE", f"/calls/{self.call_id}")
            await listener.ended
            self.assertEqual((await self.audit_entry(stack))["reason"], "the call has ended", attempt)
            await self.assert_no_channels(stack)
            await call.close()
        await self.assert_asterisk_is_idle(stack)


class AsteriskFailureOnAsterisk16Tests(AsteriskFailureTests):
    """The same test on Asterisk 16."""

    recipe = ASTERISK_16


class LossTests(ListeningMixin, RecordedCallTestCase):
    """What ends or interrupts listening."""

    stack: Stack | None = None

    async def stack_for_calls(self) -> Stack:
        if self.stack is None:
            settings = {"listening": {"enabled": True, "notice": f"tone:{_NOTICE_HZ:.0f}"}}
            self.stack = make_stack(settings, self.recipe)
            self.addCleanup(self.stack.stop)
            await self.stack.start()
        return self.stack

    async def test_voxrec_is_killed(self) -> None:
        stack, profile, caller, callee = await self.start_call(25.0)
        await self.wait_until_talking(stack)
        listener = await self.listen(stack)
        await self.hear(stack, listener, 0.5)
        stack.kill_voxrec()
        await listener.ended
        # not removed yet; with those that play the notice, whose tone has no end, if they exist still
        self.assertGreaterEqual(len(await self.channels(stack)), 4)
        await stack.start_voxrec()
        await self.assert_no_channels(stack)
        await self.wait_until_talking(stack)
        again = await self.listen(stack, "callee")
        await self.hear(stack, again, 0.5)
        await self.leave(again)
        await stack.request("DELETE", f"/calls/{self.call_id}")
        _, recorded, rate = await self.finished_recording(stack, profile, caller)
        for phone in (caller, callee):
            received, received_rate = tones.load_audio(phone.received_audio)
            self.assertGreater(self.seconds_of_notice(received[:, 0], received_rate), 0.6, "twice about 0.6 s")
        for channel in (demo_call.LEFT, demo_call.RIGHT):
            self.assertEqual(self.seconds_of_notice(recorded[:, channel], rate), 0.0, "the notice was recorded")

    def seconds_of_notice(self, samples: tones.Samples, rate: int) -> float:
        intervals = tones.tone_intervals(samples, rate, _NOTICE_HZ, threshold_dbfs=-25.0)
        return sum(end - start for start, end in intervals)
