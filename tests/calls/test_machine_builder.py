"""Tests of voxrec.calls.machine_builder, which uses an attribute of Automat that is not public."""

from typing import Any, Protocol

from automat import NoTransition, TypeMachineBuilder
from twisted.trial.unittest import SynchronousTestCase

from voxrec.calls.call_machine import call_machine
from voxrec.calls.machine_builder import build
from voxrec.calls.monitor import monitor_machine
from voxrec.calls.pause import pause_machine
from voxrec.calls.recording_log import recording_log_machine
from voxrec.calls.transfer import transfer_machine


class DoorInputs(Protocol):
    def open(self) -> str: ...

    def close(self) -> str: ...


def make_builder() -> TypeMachineBuilder[DoorInputs, object]:
    builder = TypeMachineBuilder(DoorInputs, object)
    closed, opened = builder.state("closed"), builder.state("opened")
    closed.upon(DoorInputs.open).to(opened).returns("it opens")
    opened.upon(DoorInputs.close).to(closed).returns("it closes")
    return builder


class BuildTests(SynchronousTestCase):
    def test_transitions(self) -> None:
        door = build(make_builder())(object())
        self.assertEqual([door.open(), door.close(), door.open()], ["it opens", "it closes", "it opens"])

    def test_unexpected_input(self) -> None:
        self.assertRaises(NoTransition, build(make_builder())(object()).close)

    def test_automat_does_not_search(self) -> None:
        machine: Any = build(make_builder())
        machine.__automat_automaton__._transitions.clear()
        self.assertEqual(machine(object()).open(), "it opens")


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
        outcomes = {"begun", "unavailable", "refused", "created", "lost", "stop_failed", "closed"}
        self.assertEqual(self.missing(monitor_machine, {"begin", "found", "found_files"} | outcomes), set())

    def test_inputs_that_any_state_of_a_pause_handles(self) -> None:
        requests = {"pause", "resume", "found_paused", "done", "failed"}
        self.assertEqual(self.missing(pause_machine, requests), set())

    def missing(self, machine: Any, exceptions: set[str]) -> set[tuple[str, str]]:
        automaton = machine.__automat_automaton__
        handled = {(state.name, input_) for state, input_, _, _ in automaton.allTransitions()}
        inputs = automaton.inputAlphabet() - exceptions
        return {(state.name, input_) for state in automaton.states() for input_ in inputs} - handled
