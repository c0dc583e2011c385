"""Pictures and tables of the Automat state machines that a package defines."""

import importlib
import pkgutil
import subprocess
import sysconfig
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from automat._typed import TypeMachine  # has no public name

from docs.extensions.python_names import names_defined_in

_RENDERER: Final = Path(sysconfig.get_path("scripts"), "graphviz-pure")
_GRAPH: Final = 'rankdir=TB; nodesep=0.4; ranksep=0.7; bgcolor="transparent";'
_NODE: Final = 'shape=box; style="rounded,filled"; fillcolor="#eef3f8"; fontname="Arimo"; fontsize=12;'
_EDGE: Final = 'fontname="Arimo"; fontsize=10; color="#667788"; fontcolor="#334455";'


@dataclass(frozen=True, slots=True)
class Transition:
    """What one input does in one state. ``action`` is the name of the function that it runs; empty: none."""

    state: str
    input: str
    next_state: str
    action: str

    @property
    def ignored(self) -> bool:
        """Whether the input neither changes the state nor does anything."""
        return self.state == self.next_state and not self.action


@dataclass(frozen=True, slots=True)
class StateMachine:
    """One machine: the module that defines it, its initial state and all its transitions."""

    module: str
    name: str
    initial: str
    transitions: tuple[Transition, ...]

    @property
    def label(self) -> str:
        """A name that is unique among all machines, fit for a file name."""
        return f"{self.module.rpartition('.')[2]}-{self.name}".replace("_", "-").strip("-")

    @property
    def states(self) -> list[str]:
        """The states, the initial one first, the others by how soon an input can lead to them, final ones last."""
        found = [self.initial]
        for state in found:  # grows meanwhile
            found += dict.fromkeys(
                t.next_state for t in self.transitions if t.state == state and t.next_state not in found
            )
        found += sorted({t.state for t in self.transitions}.difference(found))
        return sorted(found, key=self._is_final)  # a stable sort

    def _is_final(self, state: str) -> bool:
        return all(t.next_state == state for t in self.transitions if t.state == state)


def machines_in(package: ModuleType) -> list[StateMachine]:
    """Return the machines of a package's modules, in the order of the modules' names."""
    machines = []
    for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        module = importlib.import_module(info.name)
        own = names_defined_in(Path(str(module.__file__)))  # and not imported from where it is defined
        machines += [
            state_machine(module.__name__, name, value)
            for name, value in vars(module).items()
            if name in own and isinstance(value, TypeMachine)
        ]
    return machines


def state_machine(module: str, name: str, machine: Any) -> StateMachine:
    """Return the transitions of an Automat machine, which ``module`` defines as ``name``."""
    automaton = machine.__automat_automaton__
    transitions = [
        Transition(source.name, input_, target.name, _action(outputs))
        for source, input_, target, outputs in automaton.allTransitions()
    ]
    return StateMachine(
        module, name, automaton.initialState.name, tuple(sorted(transitions, key=lambda t: (t.state, t.input)))
    )


def _action(outputs: Any) -> str:
    """Return the name of the function that runs; a transition declared by ``returns()`` runs none."""
    names = [str(output.name) for output in outputs]
    return ", ".join(name for name in names if not name.startswith("returns("))


def dot(machine: StateMachine) -> str:
    """Return the machine as a Graphviz graph, without the inputs that a state ignores."""
    labels = defaultdict[tuple[str, str], list[str]](list)
    for transition in machine.transitions:
        if not transition.ignored:
            labels[transition.state, transition.next_state].append(transition.input)
    lines = [
        f"digraph {{ {_GRAPH} node [{_NODE}]; edge [{_EDGE}];",
        'start [label="" shape=circle width=0.15 fixedsize=true fillcolor="#334455"];',
        f'start -> "{machine.initial}";',
        *(f'"{state}";' for state in machine.states),
        *(f'"{source}" -> "{target}" [label="{_stacked(inputs)}"];' for (source, target), inputs in labels.items()),
        "}",
    ]
    return "\n".join(lines)


def _stacked(inputs: list[str]) -> str:
    return "".join(f"{input_}\\l" for input_ in inputs)


def write_diagram(machine: StateMachine, target: Path) -> None:
    """Render the machine's graph to an SVG file."""
    drawn = subprocess.run(  # noqa: S603 - our own input, and a program of this environment
        [_RENDERER, "-Tsvg"], input=dot(machine).encode(), capture_output=True, check=True
    )
    target.write_bytes(drawn.stdout)


def transitions_table(machine: StateMachine) -> str:
    """Return the machine's transitions as Markdown, with one line for what each state ignores."""
    lines = ["| state | input | next state | action |", "| --- | --- | --- | --- |"]
    for state in machine.states:
        own = [t for t in machine.transitions if t.state == state]
        lines += [
            f"| `{state}` | `{t.input}` | {_shown(t.next_state, state)} | {f'`{t.action}`' if t.action else ''} |"
            for t in own
            if not t.ignored
        ]
        ignored = ", ".join(f"`{t.input}`" for t in own if t.ignored)
        if ignored:
            lines.append(f"| `{state}` | {ignored} | unchanged | ignored |")
    return "\n".join([*lines, ""])


def _shown(next_state: str, state: str) -> str:
    return "unchanged" if next_state == state else f"`{next_state}`"


def pages(machines: list[StateMachine], pictures: str) -> Iterator[str]:
    """Yield Markdown for each machine: a heading, its picture from the directory ``pictures``, and its table."""
    for machine in machines:
        yield f"### {machine.module}: {machine.name}\n"
        yield f"![State diagram of {machine.module}]({pictures}/{machine.label}.svg)\n"
        yield transitions_table(machine)
