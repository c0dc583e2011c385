"""Tests of voxrec.calls.recording.decoder_check, and of the calls whose decoders are renewed without a check."""

import json
from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.trial.unittest import SynchronousTestCase

from tests.calls.fake_asterisk import CallFixture
from tests.calls.test_call_machine import ringing
from voxrec.calls.recording.decoder_check import CHECK_INTERVAL, CONFIRM_INTERVAL, PAUSE, RETRY_INTERVAL
from voxrec.calls.signalling.causes import Cause
from voxrec.calls.transfers.replacements import SETTLING_TIME, ReplacingChannel
from voxrec.model import PauseBehavior, RecordPrompt, Side

DEBIAN = "22.10.1+dfsg+~cs6.17.60671434-1"
UPSTREAM = "22.10.1"
WITHOUT_PATCH = f"{DEBIAN}+0noplc1"
RENEWAL = ["StopMixMonitor CALLER", "MixMonitor CALLER"]
CALLEE_IS_SILENT = {Side.CALLER: False, Side.CALLEE: True}
NEITHER_IS_SILENT = {Side.CALLER: False, Side.CALLEE: False}


def recorded(version: str = DEBIAN, **fields: Any) -> CallFixture:
    """Return a recorded call of this version of Asterisk that was just answered."""
    fixture = ringing(**fields)
    fixture.asterisk.responses["GET asterisk/info"] = b'{"system": {"version": "%s"}}' % version.encode()
    ensureDeferred(fixture.client.detect_capabilities())
    fixture.call.inputs.leg_answered()
    fixture.files.create(fixture.call)
    fixture.take_requests()
    return fixture


class DecoderCheckTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.fixture = recorded()
        self.packets, self.source, self.lost = 1000, 7, 0

    def check(self, silent: Mapping[Side, bool], packets: int, after: float) -> list[str]:
        """Let a check find these sides silent, and ``packets`` more of the side; return the commands."""
        self.packets += packets
        for channel in (self.fixture.call.inbound.channel, self.fixture.call.leg):
            statistics = {"rxcount": self.packets, "remote_ssrc": self.source, "rxploss": self.lost}
            self.fixture.asterisk.responses[f"GET channels/{channel}/rtp_statistics"] = json.dumps(statistics).encode()
        self.fixture.files.silent_sides = silent
        self.fixture.clock.advance(after)
        self.fixture.files.close(self.fixture.call)
        for _ in range(8):  # the gap, and the checks whether Asterisk has closed the files
            self.fixture.clock.advance(0.02)
        return [request for request in self.fixture.take_requests() if "MixMonitor" in request]

    def restarts(self) -> list[str | None]:
        return [entry.by for entry in self.fixture.recording.timeline if entry.event == "decoder.restarted"]

    def test_side_whose_packets_are_not_recorded_gets_a_new_decoder(self) -> None:
        for side, silent in ((Side.CALLEE, CALLEE_IS_SILENT), (Side.CALLER, {Side.CALLER: True, Side.CALLEE: False})):
            self.setUp()
            self.assertEqual(self.check(silent, 0, CHECK_INTERVAL), [])
            self.assertEqual(self.check(silent, 25, CONFIRM_INTERVAL), RENEWAL)
            self.assertTrue(self.fixture.asterisk.queries["MixMonitor 1700.1"]["Options"].endswith("a"))
            self.assertEqual(self.restarts(), [side])
            self.assertEqual(len(self.fixture.restarted_decoders), 1)

    def test_party_that_sends_nothing_is_left_alone(self) -> None:
        for _ in range(5):
            self.assertEqual(self.check(CALLEE_IS_SILENT, 1, CHECK_INTERVAL), [])
            self.assertEqual(self.check(CALLEE_IS_SILENT, 1, CONFIRM_INTERVAL), [])

    def test_both_sides_or_none_silent(self) -> None:
        for silent in ({Side.CALLER: True, Side.CALLEE: True}, NEITHER_IS_SILENT, {Side.CALLER: True}, {}):
            self.assertEqual(self.check(silent, 100, CHECK_INTERVAL), [])
            self.assertEqual(self.check(silent, 100, CHECK_INTERVAL), [])

    def test_silence_that_has_ended_when_it_is_to_be_confirmed(self) -> None:
        self.check(CALLEE_IS_SILENT, 0, CHECK_INTERVAL)
        self.assertEqual(self.check(NEITHER_IS_SILENT, 25, CONFIRM_INTERVAL), [])
        self.assertEqual(self.check(CALLEE_IS_SILENT, 25, CHECK_INTERVAL), [])

    def confirm(self, silent: Mapping[Side, bool], after: float = PAUSE) -> list[str]:
        """Let two checks find these sides silent although packets arrive; return the commands."""
        return self.check(silent, 50, after) + self.check(silent, 50, CONFIRM_INTERVAL)

    def test_muted_telephone_gets_one_new_decoder(self) -> None:
        self.assertEqual(self.confirm(CALLEE_IS_SILENT), RENEWAL)
        end = self.fixture.clock.seconds() + RETRY_INTERVAL - 2 * PAUSE
        while self.fixture.clock.seconds() < end:  # muted for half of the time
            self.assertEqual(self.check(CALLEE_IS_SILENT, 400, PAUSE), [])
            self.assertEqual(self.check(CALLEE_IS_SILENT, 25, CONFIRM_INTERVAL), [])
            self.assertEqual(self.check(NEITHER_IS_SILENT, 400, PAUSE), [])
        self.assertEqual(len(self.restarts()), 1)

    def test_side_that_remains_silent_for_ten_minutes(self) -> None:
        self.confirm(CALLEE_IS_SILENT)
        self.assertEqual(self.confirm(CALLEE_IS_SILENT, RETRY_INTERVAL), RENEWAL)

    def test_muted_telephone_whose_stream_begins_anew(self) -> None:
        for change in ("source", "lost", "transfer"):
            self.setUp()
            self.confirm(CALLEE_IS_SILENT)
            self.assertEqual(self.confirm(CALLEE_IS_SILENT), [])
            if change == "source":
                self.source += 1
            elif change == "lost":  # Asterisk counts as lost what lies between the numbers before and after
                self.lost += 40_000
            else:
                self.fixture.call.core.legs.use_channel("another", "PJSIP/another-1")
            self.assertEqual(self.confirm(CALLEE_IS_SILENT), RENEWAL, change)

    def test_each_side_is_examined_for_itself(self) -> None:
        caller_is_silent = {Side.CALLER: True, Side.CALLEE: False}
        self.assertEqual(self.confirm(CALLEE_IS_SILENT), RENEWAL)
        self.assertEqual(self.confirm(caller_is_silent), RENEWAL)
        self.assertEqual(self.confirm(CALLEE_IS_SILENT) + self.confirm(caller_is_silent), [])
        self.assertEqual(self.restarts(), [Side.CALLEE, Side.CALLER])

    def test_statistics_that_asterisk_refuses(self) -> None:
        self.fixture.asterisk.errors["rtp_statistics"] = 500
        self.assertEqual(self.check(CALLEE_IS_SILENT, 0, CHECK_INTERVAL), [])
        self.fixture.asterisk.errors.clear()
        self.check(CALLEE_IS_SILENT, 0, CHECK_INTERVAL)
        self.assertEqual(self.check(CALLEE_IS_SILENT, 25, CONFIRM_INTERVAL), RENEWAL)

    def test_call_that_has_ended_is_not_checked(self) -> None:
        self.fixture.call.inputs.caller_hung_up(Cause.NORMAL)
        self.fixture.call.inputs.leg_hung_up(Cause.NORMAL)
        self.fixture.files.close(self.fixture.call)
        self.assertEqual(self.fixture.over, [self.fixture.call])
        self.assertEqual(self.fixture.clock.getDelayedCalls(), [])

    def test_other_versions_are_not_checked(self) -> None:
        for version in (UPSTREAM, WITHOUT_PATCH):
            self.fixture = recorded(version)
            self.fixture.files.silent_sides = CALLEE_IS_SILENT
            self.fixture.clock.advance(60)
            self.assertEqual(self.fixture.take_requests(), [])


class SoundTests(SynchronousTestCase):
    """Frames of a sound have no sequence numbers."""

    def requests_after_announcement(self, version: str) -> list[str]:
        fixture = recorded(version, record_prompt=RecordPrompt.DEFAULT)
        self.assertEqual(fixture.call.status, "announcing")
        fixture.call.playback_finished("announcement", complete=True)
        fixture.files.close(fixture.call)
        for _ in range(8):
            fixture.clock.advance(0.02)
        self.assertEqual(fixture.call.status, "talking")
        return fixture.take_requests()

    def test_decoders_are_renewed_after_the_announcement(self) -> None:
        self.assertEqual(self.requests_after_announcement(DEBIAN), RENEWAL)

    def test_decoders_are_renewed_after_music_on_hold(self) -> None:
        for version, expected in ((DEBIAN, RENEWAL), (UPSTREAM, []), (WITHOUT_PATCH, [])):
            fixture = recorded(version)
            fixture.call.unheld(Side.CALLEE)  # it was not on hold
            fixture.call.held(Side.CALLEE)
            self.assertEqual(fixture.take_requests(), [])
            fixture.call.unheld(Side.CALLEE)
            fixture.files.close(fixture.call)
            for _ in range(8):
                fixture.clock.advance(0.02)
            self.assertEqual(fixture.take_requests(), expected)

    def test_decoders_that_are_renewed_during_a_pause_begin_at_its_end(self) -> None:
        fixture = recorded(DEBIAN)
        fixture.call.held(Side.CALLEE)
        self.successResultOf(Deferred.fromCoroutine(fixture.call.pause(PauseBehavior.SILENCE, None)))
        fixture.take_requests()
        fixture.call.unheld(Side.CALLEE)
        fixture.files.close(fixture.call)
        fixture.clock.advance(1)
        self.assertEqual(fixture.take_requests(), RENEWAL[:1])
        self.assertEqual(fixture.recording.timeline[-1].event, "recording.suspended")
        self.successResultOf(Deferred.fromCoroutine(fixture.call.resume()))
        self.assertEqual([each for each in fixture.take_requests() if "MixMonitor " in each], RENEWAL[1:])

    def test_decoders_are_renewed_for_a_party_that_has_replaced_the_far_end(self) -> None:
        for version, expected in ((DEBIAN, RENEWAL), (UPSTREAM, []), (WITHOUT_PATCH, [])):
            fixture = recorded(version)
            bridge = f"GET bridges/voxrec-{fixture.call.id}-bridge"
            fixture.asterisk.responses[bridge] = b'{"id": "b", "channels": ["9"]}'
            fixture.call.replaced(Side.CALLEE, ReplacingChannel("9", "PJSIP/trunk-9", answered=True))
            fixture.clock.advance(SETTLING_TIME)
            fixture.files.close(fixture.call)
            for _ in range(8):
                fixture.clock.advance(0.02)
            self.assertEqual([each for each in fixture.take_requests() if "MixMonitor" in each], expected)

    def test_decoders_of_other_versions_are_not(self) -> None:
        for version in (UPSTREAM, WITHOUT_PATCH):
            self.assertEqual(self.requests_after_announcement(version), [])
