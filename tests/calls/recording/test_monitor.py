"""Tests of voxrec.calls.recording.monitor.

They also cover what happens while AMI is not connected, or if Asterisk fails.
"""

from collections.abc import Collection, Mapping
from itertools import pairwise
from uuid import UUID

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.calls.fake_asterisk import MONITOR, NOW, FakeAsterisk
from voxrec.ami.client import AmiClient
from voxrec.ari.client import AriClient
from voxrec.calls.recording.monitor import monitor_machine
from voxrec.calls.recording.monitor_core import MonitorCore
from voxrec.calls.recording.recording_commands import MONITOR_VARIABLE, RecordingCommands
from voxrec.errors import AsteriskUnavailable, CommandNotSent, Conflict
from voxrec.model import Recording, RecordingState, Side

START, MUTE, STOP = "MixMonitor 1700.1", "MixMonitorMute 1700.1", "StopMixMonitor 1700.1"


class Files:
    """LegFiles of which a test sets the state."""

    def __init__(self) -> None:
        self.existing: set[Side] = set()
        self.complete = False
        self.running = False

    async def created(self, recording_id: UUID) -> frozenset[Side]:
        return frozenset(self.existing)

    async def written(self, recording_id: UUID) -> frozenset[Side]:
        return frozenset() if self.complete and not self.running else frozenset(self.existing)

    def monitor_changed(self, running: bool) -> None:
        self.running = running

    async def closed(self, recording_id: UUID, expected: Collection[Side]) -> bool:
        return self.existing >= set(expected) and (self.complete or not self.existing)

    async def duration(self, recording_id: UUID) -> float:
        return 7.5

    async def silent(self, recording_id: UUID) -> Mapping[Side, bool]:
        return {}


class MonitorTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.asterisk = FakeAsterisk()
        self.files = Files()
        self.asterisk.on_monitor = self.files.monitor_changed
        self.reported: list[str] = []
        client = AriClient(self.asterisk, "voxrec")
        self.core = MonitorCore(
            self.clock,
            RecordingCommands(client, AmiClient(self.asterisk), self.files),
            Recording(
                id=UUID(int=1),
                profile_id=UUID(int=2),
                call_id=UUID(int=3),
                state=RecordingState.RECORDING,
                created_at=NOW,
                updated_at=NOW,
            ),
            "1700.1",
            "wav",
            note=lambda side, _detail: self.reported.append(f"failed {side or 'call'}"),
            started=lambda: self.reported.append("started"),
            late=lambda: self.reported.append("late"),
            over=lambda: self.reported.append("over"),
            suspended=lambda seconds: self.reported.append(f"suspended at {seconds:g}"),
        )
        self.monitor = monitor_machine(self.core)

    def requests(self) -> list[str]:
        return self.asterisk.take_requests()

    def mute(self) -> Deferred[None]:
        changed: Deferred[None] = Deferred()
        self.monitor.mute(changed)
        return changed

    def unmute(self) -> Deferred[None]:
        changed: Deferred[None] = Deferred()
        self.monitor.unmute(changed)
        return changed

    def record(self) -> None:
        """Begin, and let Asterisk create both files."""
        self.files.existing = set(Side)
        self.monitor.begin()
        self.assertEqual((self.requests(), self.reported), ([START], ["started"]))
        self.reported.clear()

    def close(self) -> None:
        """Let Asterisk close the files, and voxrec see it."""
        self.files.complete = True
        self.clock.advance(1)

    def test_files_that_are_created_late(self) -> None:
        self.monitor.begin()
        self.clock.advance(5)
        self.assertEqual(self.reported, [])
        self.files.existing = set(Side)
        self.clock.advance(1)
        self.assertEqual(self.reported, ["started"])

    def test_end_of_the_call(self) -> None:
        self.record()
        self.monitor.call_ended()
        self.clock.advance(1)
        self.assertEqual(self.reported, [])
        self.close()
        self.assertEqual((self.reported, self.requests()), (["started", "over"], []))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stop_waits_for_the_files(self) -> None:
        self.record()
        self.monitor.stop()
        self.assertEqual((self.requests(), self.reported), ([STOP], []))
        self.close()
        self.assertEqual(self.reported[-1], "over")

    def test_file_that_is_not_opened(self) -> None:
        self.monitor.begin()
        self.files.existing = {Side.CALLER}
        for _ in range(11):
            self.clock.advance(1)
        self.assertEqual(self.reported, ["failed callee", "started"])
        self.monitor.call_ended()
        self.close()
        self.assertEqual(self.reported[-1], "over")

    def test_no_file_is_opened(self) -> None:
        self.monitor.begin()
        for _ in range(11):
            self.clock.advance(1)
        self.assertEqual(self.reported, ["failed caller", "failed callee", "started", "started", "over"])
        self.assertEqual(self.requests(), [START, STOP])

    def test_refused(self) -> None:
        self.asterisk.refusals = {"MixMonitor": "No such channel"}
        self.monitor.begin()
        self.assertEqual(self.reported, ["failed call", "started", "over"])

    def test_recording_starts_when_ami_is_connected(self) -> None:
        self.asterisk.ready = False
        self.monitor.begin()
        self.assertEqual(self.reported, ["failed call", "started"])
        self.clock.advance(2)  # it is tried again, and reported once
        self.assertEqual(self.reported, ["failed call", "started", "started"])
        self.requests()
        self.asterisk.ready = True
        self.files.existing = set(Side)
        self.monitor.retry()
        self.assertEqual(self.requests(), [START])  # none can have been started
        self.assertEqual(self.reported[-2:], ["late", "started"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_start_whose_outcome_was_not_known_is_not_repeated_if_it_was_executed(self) -> None:
        self.asterisk.delayed.add("MixMonitor")
        self.monitor.begin()
        self.asterisk.fail_response(AsteriskUnavailable("lost"))
        self.asterisk.delayed.clear()
        self.asterisk.variables[MONITOR_VARIABLE] = MONITOR
        self.files.existing = set(Side)
        self.requests()
        self.monitor.retry()
        self.assertEqual(self.requests(), ["GET channels/1700.1/variable"])
        self.assertEqual((self.reported[-1], self.core.monitor), ("started", MONITOR))

    def lose_start(self) -> None:
        """Begin, and lose the response of the command to start."""
        self.asterisk.delayed.add("MixMonitor")
        self.monitor.begin()
        self.asterisk.fail_response(AsteriskUnavailable("lost"))
        self.asterisk.delayed.clear()
        self.requests()

    def test_mix_monitor_that_could_not_open_its_files_any_more_is_replaced(self) -> None:
        self.lose_start()
        self.asterisk.variables[MONITOR_VARIABLE] = MONITOR
        for sides in ((), (Side.CALLER,)):
            self.files.existing = set(sides)
            self.asterisk.ready = False
            self.monitor.retry()
            self.assertEqual(self.requests()[-1], STOP)
            self.asterisk.ready = True
        self.files.complete = True
        self.monitor.retry()
        self.assertEqual(self.requests()[-1], START)
        self.assertTrue(self.asterisk.queries[START]["Options"].endswith("a"))

    def test_uncertain_start_is_not_forgotten_while_ami_is_not_connected(self) -> None:
        self.lose_start()
        self.asterisk.ready = False
        self.clock.advance(2)
        self.assertEqual(self.requests(), ["GET channels/1700.1/variable", START])
        self.asterisk.ready = True
        self.asterisk.variables[MONITOR_VARIABLE] = MONITOR
        self.files.existing = set(Side)
        self.monitor.retry()
        self.assertEqual((self.requests(), self.core.monitor), (["GET channels/1700.1/variable"], MONITOR))

    def test_after_a_command_of_unknown_outcome_a_pause_stops_the_mix_monitor(self) -> None:
        """The command could unmute it during the pause."""
        self.record()
        self.asterisk.delayed.add("MixMonitorMute")
        resumed = self.unmute()
        self.asterisk.fail_response(AsteriskUnavailable("lost"))
        self.successResultOf(resumed)
        self.asterisk.delayed.clear()
        self.requests()
        paused = self.mute()
        self.assertNoResult(paused)
        self.assertEqual(self.requests(), [STOP])
        self.files.complete = True
        self.clock.advance(0.1)
        self.successResultOf(paused)
        self.requests()
        self.successResultOf(self.unmute())
        self.assertEqual(self.requests(), ["GET channels/1700.1/variable", START])

    def test_check_that_ari_does_not_answer_is_repeated_less_and_less_often(self) -> None:
        """That does not prolong the doubt, and does not keep Asterisk from recording as it is to."""
        query = "GET channels/1700.1/variable"
        self.lose_start()
        self.monitor.retry()
        self.files.existing = set(Side)
        self.clock.advance(0.1)
        self.asterisk.lost.add("variable")
        self.requests()
        checked = []
        for second in range(1, 101):
            self.clock.advance(1)
            if requests := self.requests():
                self.assertEqual(requests, [query, MUTE])
                checked.append(second)
        self.assertEqual([later - at for at, later in pairwise(checked)], [2, 4, 8, 16, 32, 32])
        self.asterisk.lost.clear()
        self.asterisk.variables[MONITOR_VARIABLE] = "0xlate"
        self.clock.advance(32)
        self.assertEqual(self.requests(), [query, STOP, "POST channels/1700.1/variable", MUTE])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_what_ari_does_not_answer_before_a_start_raises_no_doubt(self) -> None:
        self.lose_start()
        self.clock.advance(60)
        self.asterisk.lost.add("variable")
        self.monitor.retry()
        self.asterisk.lost.clear()
        self.files.existing = set(Side)
        self.files.complete = True
        self.clock.advance(2)
        self.clock.advance(1)
        self.assertEqual((self.reported[-1], self.clock.getDelayedCalls()), ("started", []))

    def test_codec_that_ari_does_not_tell(self) -> None:
        self.core.late_offer = True
        self.asterisk.errors["variable"] = 500
        self.monitor.begin()
        self.requests()
        for _ in range(100):
            self.clock.advance(0.02)
        self.assertEqual(self.requests()[-1], START)

    def test_what_a_late_command_has_done_is_corrected(self) -> None:
        self.lose_start()
        self.monitor.retry()
        self.files.existing = set(Side)
        self.clock.advance(0.1)
        self.asterisk.variables[MONITOR_VARIABLE] = "0xlate"
        self.assertEqual(self.requests(), ["GET channels/1700.1/variable", START])
        self.clock.advance(2)
        self.assertEqual(self.requests(), ["GET channels/1700.1/variable", STOP, "POST channels/1700.1/variable", MUTE])
        self.assertEqual(self.asterisk.queries[STOP]["MixMonitorID"], "0xlate")
        self.assertEqual(self.asterisk.queries["POST channels/1700.1/variable"]["value"], MONITOR)
        self.asterisk.variables[MONITOR_VARIABLE] = MONITOR
        for _ in range(30):
            self.clock.advance(2)
        self.assertEqual(self.clock.getDelayedCalls(), [])  # it was checked for long enough

    def test_stop_of_unknown_outcome_is_repeated_before_another_one_is_started(self) -> None:
        self.record()
        self.asterisk.delayed.add("StopMixMonitor")
        self.monitor.renew()
        paused = self.mute()
        self.asterisk.fail_response(AsteriskUnavailable("lost"))
        self.failureResultOf(paused, AsteriskUnavailable)
        self.failureResultOf(self.mute(), Conflict)
        self.asterisk.delayed.clear()
        self.files.complete = True
        self.clock.advance(2)
        self.assertEqual(self.requests(), [STOP, STOP])
        self.clock.advance(0.1)
        self.assertEqual(self.requests(), [START])

    def test_what_may_have_been_started_cannot_be_paused(self) -> None:
        self.asterisk.delayed.add("MixMonitor")
        self.monitor.begin()
        self.asterisk.fail_response(AsteriskUnavailable("lost"))
        self.failureResultOf(self.mute(), Conflict)
        self.assertFalse(self.core.muted)

    def test_call_ends_before_ami_is_connected(self) -> None:
        self.asterisk.ready = False
        self.monitor.begin()
        self.monitor.call_ended()
        self.assertEqual(self.reported[-1], "over")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_call_ends_before_asterisk_responds(self) -> None:
        self.asterisk.delayed.add("MixMonitor")
        self.monitor.begin()
        self.monitor.call_ended()
        self.assertEqual(self.reported, [])
        self.asterisk.respond()
        self.clock.advance(1)
        self.assertEqual(self.reported, [])  # its thread still has to open the files, and to close them
        self.files.existing = set(Side)
        self.close()
        self.assertEqual(self.reported, ["started", "over"])

    def test_stop_before_asterisk_responds(self) -> None:
        self.asterisk.delayed.add("MixMonitor")
        self.monitor.begin()
        self.monitor.stop()
        self.assertEqual(self.requests(), [START])
        self.asterisk.respond()
        self.assertEqual(self.requests(), [STOP])

    def test_stop_is_repeated_until_it_is_done(self) -> None:
        self.record()
        self.asterisk.ready = False
        self.monitor.stop()
        self.clock.advance(2)
        self.assertEqual(self.requests(), [STOP, STOP])
        self.asterisk.ready = True
        self.monitor.retry()
        self.close()
        self.assertEqual((self.requests(), self.reported[-1]), ([STOP], "over"))

    def test_state_is_repeated_at_the_next_connect(self) -> None:
        self.record()
        for muted, change in ((True, self.mute), (False, self.unmute)):
            self.successResultOf(change())
            self.requests()
            self.monitor.retry()
            self.assertEqual(self.requests(), [MUTE])
            self.assertEqual(self.asterisk.queries[MUTE]["State"], "1" if muted else "0")
            self.assertEqual(self.asterisk.queries[MUTE]["Direction"], "both")

    def test_mix_monitor_that_somebody_else_has_stopped(self) -> None:
        self.record()
        self.asterisk.refusals = {"MixMonitorMute": "Cannot set mute flag"}
        self.monitor.retry()
        self.asterisk.refusals = {}
        self.requests()
        self.close()
        self.assertEqual((self.requests(), self.reported), ([START], ["failed call", "late", "started"]))
        self.assertTrue(self.asterisk.queries[START]["Options"].endswith("a"))

    def test_channel_that_asterisk_replaces_while_nothing_is_recorded(self) -> None:
        self.asterisk.ready = False
        self.monitor.begin()
        self.requests()
        self.monitor.use_channel("1700.2")
        self.asterisk.ready = True
        self.monitor.retry()
        self.assertEqual(self.requests()[-1], "MixMonitor 1700.2")

    def test_another_channel_continues_the_files_when_they_are_closed(self) -> None:
        self.record()
        self.requests()
        self.monitor.use_channel("1700.2")
        self.clock.advance(0)
        self.assertEqual(self.requests(), [STOP])
        self.files.complete = True
        self.clock.advance(1)
        self.assertEqual(self.requests(), ["MixMonitor 1700.2"])
        self.assertTrue(self.asterisk.queries["MixMonitor 1700.2"]["Options"].endswith("a"))
        self.clock.advance(1)
        self.monitor.stop()
        self.assertEqual(self.requests(), ["StopMixMonitor 1700.2"])

    def test_another_decoder_continues_after_a_gap(self) -> None:
        self.record()
        self.requests()
        self.monitor.renew()
        self.files.complete = True
        self.clock.advance(0.05)
        self.assertEqual(self.requests(), [STOP])
        self.clock.advance(0.02)
        self.assertEqual(self.requests(), [START])

    def test_what_is_about_to_start_has_new_decoders_anyway(self) -> None:
        self.asterisk.ready = False
        self.monitor.begin()
        self.monitor.renew()
        self.asterisk.ready = True
        self.requests()
        self.monitor.retry()
        self.assertEqual(self.requests()[-1], START)
        self.files.existing = set(Side)
        self.clock.advance(1)
        self.monitor.renew()
        self.monitor.renew()
        self.files.complete = True
        self.clock.advance(1)
        self.assertEqual(self.requests(), [STOP, START])

    def test_no_mix_monitor_is_started_during_a_pause(self) -> None:
        for change in (lambda: self.monitor.use_channel("1700.2"), lambda: self.monitor.renew()):
            self.setUp()
            self.record()
            self.successResultOf(self.mute())
            self.requests()
            self.files.complete = True
            change()
            self.clock.advance(0.1)
            self.assertEqual((self.requests(), self.reported), ([STOP], ["started", "suspended at 7.5"]))
            self.monitor.retry()  # AMI is connected again
            self.successResultOf(self.mute())
            self.assertEqual(self.requests(), [])
            self.successResultOf(self.unmute())
            start = f"MixMonitor {self.core.channel}"
            self.assertEqual(self.requests(), [start])
            self.assertTrue(self.asterisk.queries[start]["Options"].endswith("a"))

    def test_pause_that_is_requested_while_a_mix_monitor_is_replaced(self) -> None:
        self.record()
        self.requests()
        self.monitor.renew()
        paused = self.mute()
        self.clock.advance(0.1)
        self.assertNoResult(paused)  # what is said may be recorded until the file is closed
        self.close()
        self.successResultOf(paused)
        self.assertEqual(self.requests(), [STOP])
        self.successResultOf(self.unmute())
        self.assertEqual(self.requests(), [START])

    def test_pause_that_is_requested_before_asterisk_responds(self) -> None:
        self.asterisk.delayed.add("MixMonitor")
        self.monitor.begin()
        paused = self.mute()
        self.assertNoResult(paused)
        self.assertEqual(self.requests(), [START])
        self.asterisk.respond()
        self.successResultOf(paused)
        self.assertEqual(self.requests(), [MUTE])

    def test_pause_before_the_start(self) -> None:
        self.successResultOf(self.mute())
        self.monitor.begin()
        self.assertEqual((self.requests(), self.reported), ([], ["started", "suspended at 0"]))
        self.successResultOf(self.unmute())
        self.assertEqual(self.requests(), [START])
        self.assertFalse(self.asterisk.queries[START]["Options"].endswith("a"))

    def test_pause_while_ami_is_not_connected_and_nothing_was_started(self) -> None:
        self.asterisk.ready = False
        self.monitor.begin()
        self.successResultOf(self.mute())
        self.asterisk.ready = True
        self.requests()
        self.monitor.retry()
        self.clock.advance(5)
        self.assertEqual(self.requests(), [])
        self.successResultOf(self.unmute())
        self.assertEqual(self.requests(), [START])

    def suspend(self) -> None:
        self.record()
        self.successResultOf(self.mute())
        self.files.complete = True
        self.monitor.use_channel("1700.2")
        self.clock.advance(0.1)
        self.requests()

    def test_resumption_that_cannot_be_sent_leaves_it_suspended(self) -> None:
        self.suspend()
        self.asterisk.ready = False
        self.failureResultOf(self.unmute(), CommandNotSent)
        self.asterisk.ready = True
        self.requests()
        self.monitor.retry()
        self.clock.advance(5)
        self.assertEqual(self.requests(), [])
        self.successResultOf(self.unmute())
        self.assertEqual(self.requests(), ["MixMonitor 1700.2"])

    def test_resumption_of_unknown_outcome_is_no_pause(self) -> None:
        self.suspend()
        self.asterisk.delayed.add("MixMonitor")
        resumed = self.unmute()
        self.asterisk.fail_response(AsteriskUnavailable("lost"))
        self.successResultOf(resumed)
        self.assertIn("failed call", self.reported)
        self.asterisk.delayed.clear()
        self.files.running = False  # it was not executed
        self.requests()
        self.monitor.retry()
        self.assertEqual(self.requests(), ["GET channels/1700.2/variable", "MixMonitor 1700.2"])

    def test_call_that_ends_while_it_is_suspended(self) -> None:
        for end in (lambda: self.monitor.call_ended(), lambda: self.monitor.stop()):
            self.setUp()
            self.suspend()
            end()
            self.assertEqual((self.requests(), self.reported[-1]), ([], "over"))
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_taken_over_while_it_is_suspended(self) -> None:
        self.files.existing, self.files.complete = set(Side), True
        self.monitor.found_suspended()
        self.assertEqual((self.requests(), self.reported), ([], ["started", "suspended at 7.5"]))
        self.successResultOf(self.unmute())
        self.assertTrue(self.asterisk.queries[START]["Options"].endswith("a"))

    def test_taken_over_while_the_variable_names_a_mix_monitor_that_has_ended(self) -> None:
        self.files.existing, self.files.complete = set(Side), True
        self.monitor.found("0x1", True)
        self.assertEqual(self.reported, ["started", "suspended at 7.5"])
        self.successResultOf(self.unmute())
        self.assertEqual(self.requests(), [STOP, START])

    def test_what_cannot_be_stopped_continues(self) -> None:
        self.record()
        self.requests()
        self.asterisk.ready = False
        self.monitor.renew()
        self.clock.advance(5)
        self.asterisk.ready = True
        self.requests()
        self.successResultOf(self.mute())
        self.assertEqual(self.requests(), [MUTE])

    def test_a_call_that_ends_meanwhile(self) -> None:
        for advance in (0.0, 0.5):
            self.setUp()
            self.record()
            self.monitor.use_channel("1700.2")
            self.clock.advance(advance)
            self.monitor.call_ended()
            self.requests()
            self.close()
            self.assertEqual((self.requests(), self.reported[-1]), ([], "over"))
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_channel_that_leaves_for_another_program(self) -> None:
        self.record()
        self.monitor.call_ended()
        self.monitor.stop()
        self.assertEqual(self.requests(), [STOP])

    def test_asterisk_that_has_ended(self) -> None:
        self.record()
        self.monitor.call_ended()
        self.monitor.closed()
        self.assertEqual((self.reported[-1], self.clock.getDelayedCalls()), ("over", []))

    def test_detach(self) -> None:
        self.record()
        self.asterisk.ready = False
        failed = self.mute()
        self.failureResultOf(failed, AsteriskUnavailable)
        self.monitor.detach()
        self.assertEqual((self.reported, self.clock.getDelayedCalls()), ([], []))
