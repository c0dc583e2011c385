"""The parts of the documentation that are made from the code."""

from pathlib import Path
from typing import Final, Protocol

from automat import TypeMachineBuilder
from twisted.trial.unittest import SynchronousTestCase

import voxrec.calls
from docs.extensions.metrics import metrics_in
from docs.extensions.settings import allowed_values, settings_in
from docs.extensions.state_machines import dot, machines_in, state_machine, transitions_table
from voxrec.metrics import Metrics

ROOT: Final = Path(__file__).parents[2]


class Door(Protocol):
    """Inputs of a machine for these tests."""

    def open(self) -> None: ...

    def close(self) -> None: ...


def door() -> object:
    builder = TypeMachineBuilder(Door, object)
    closed, opened = builder.state("closed"), builder.state("opened")
    closed.upon(Door.close).loop().returns(None)
    opened.upon(Door.close).to(closed).returns(None)

    @closed.upon(Door.open).to(opened)
    def ring_bell(inputs: Door, core: object) -> None: ...

    return builder.build()


class StateMachineTests(SynchronousTestCase):
    def test_a_table_has_every_transition(self) -> None:
        self.assertEqual(
            transitions_table(state_machine("tests.door", "machine", door())),
            "| state | input | next state | action |\n| --- | --- | --- | --- |\n"
            "| `closed` | `open` | `opened` | `ring_bell` |\n"
            "| `closed` | `close` | unchanged | ignored |\n"
            "| `opened` | `close` | `closed` |  |\n",
        )

    def test_a_graph_leaves_out_what_is_ignored(self) -> None:
        graph = dot(state_machine("tests.door", "machine", door()))
        self.assertIn('"closed" -> "opened" [label="open\\l"];', graph)
        self.assertNotIn('"closed" -> "closed"', graph)

    def test_the_machines_of_calls_are_found(self) -> None:
        machines = machines_in(voxrec.calls)
        self.assertNotEqual(machines, [])
        self.assertEqual(len({machine.label for machine in machines}), len(machines))


class SettingsTests(SynchronousTestCase):
    def test_every_setting_is_there_once(self) -> None:
        found = [setting.path for setting in settings_in(ROOT / "etc" / "voxrec.yaml")]
        self.assertEqual(sorted(found), sorted(allowed_values()))

    def test_allowed_values_in_words(self) -> None:
        allowed = allowed_values()
        self.assertEqual(allowed["queue.attempts"], "a whole number from 1 up to 1000")
        self.assertEqual(allowed["calls.on_stop"], "`end`, `keep`")
        self.assertEqual(allowed["rest.access_log"], "`true` or `false`")
        self.assertEqual(allowed["mail.timeout"], "a number above 0 up to 86400")


class MetricsTests(SynchronousTestCase):
    def test_every_metric_of_the_exposition_is_found(self) -> None:
        exposed = {
            line.split()[2]
            for line in Metrics("1.2.3").exposition().decode().splitlines()
            if line.startswith("# HELP voxrec_") and not line.split()[2].endswith("_created")
        }
        found = {metric.exposed_name: metric for metric in metrics_in(ROOT / "voxrec")}
        self.assertEqual(exposed - found.keys(), set())
        self.assertEqual(found["voxrec_calls_total"].labels, ("outcome", "cause"))
        self.assertEqual(found["voxrec_calls_live"].type, "gauge")
