"""Tests of voxrec.machine_builder, which uses an attribute of Automat that is not public."""

from dataclasses import dataclass
from typing import Any, Protocol

from automat import NoTransition, TypeMachineBuilder
from twisted.trial.unittest import SynchronousTestCase

from voxrec.machine_builder import build, declare_states


class DoorInputs(Protocol):
    def open(self) -> str: ...

    def close(self) -> str: ...


@dataclass
class DoorStates:
    closed: Any
    opened: Any


def make_builder() -> TypeMachineBuilder[DoorInputs, object]:
    builder = TypeMachineBuilder(DoorInputs, object)
    states = declare_states(DoorStates, builder)
    states.closed.upon(DoorInputs.open).to(states.opened).returns("it opens")
    states.opened.upon(DoorInputs.close).to(states.closed).returns("it closes")
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
