"""Each state of the machines of a call has a transition for every input that can arrive in it."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from voxrec.calls.call_machine import call_machine
from voxrec.calls.recording.monitor import monitor_machine
from voxrec.calls.recording.pause import pause_machine
from voxrec.calls.recording.recording_log import recording_log_machine
from voxrec.calls.transfers.transfer_machine import transfer_machine


class CompletenessTests(SynchronousTestCase):
    def test_inputs_that_any_state_of_a_call_handles(self) -> None:
        """Events can arrive in any state: each has a transition in each state, if only one that ignores it."""
        outcomes = {"begin", "timed_out", "channel_not_found", "cleared", "setup_failed", "detach", "invite"}
        found = {
            "found_placing",
            "found_ringing",
            "found_announcing",
            "found_unannounced",
            "found_talking",
            "found_calling",
        }
        self.assertEqual(self.missing(call_machine, outcomes | found), set())

    def test_inputs_that_any_state_of_a_transfer_handles(self) -> None:
        self.assertEqual(self.missing(transfer_machine, set()), set())

    def test_inputs_that_any_state_of_a_recording_log_handles(self) -> None:
        self.assertEqual(self.missing(recording_log_machine, {"release"}), set())

    def test_inputs_that_any_state_of_a_monitor_handles(self) -> None:
        outcomes = {
            "begun",
            "unsent",
            "unavailable",
            "refused",
            "created",
            "stopped",
            "leave_failed",
            "interrupted",
            "stop_failed",
            "closed",
        }
        found = {"found", "found_files", "found_ended", "found_suspended"}
        self.assertEqual(self.missing(monitor_machine, {"begin", "suspend"} | found | outcomes), set())

    def test_inputs_that_any_state_of_a_pause_handles(self) -> None:
        requests = {"pause", "resume", "found_paused", "done", "failed"}
        self.assertEqual(self.missing(pause_machine, requests), set())

    def missing(self, machine: Any, exceptions: set[str]) -> set[tuple[str, str]]:
        automaton = machine.__automat_automaton__
        handled = {(state.name, input_) for state, input_, _, _ in automaton.allTransitions()}
        inputs = automaton.inputAlphabet() - exceptions
        return {(state.name, input_) for state in automaton.states() for input_ in inputs} - handled
