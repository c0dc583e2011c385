"""Tests of the alert rules, the dashboard and the manual page that voxrec ships."""

import json
import re
import subprocess
from typing import Any, Final

import click
from twisted.trial.unittest import SynchronousTestCase

from docs.extensions.metrics import METRIC_SUFFIXES, metrics_in
from tests.subtest import subtest
from tests.test_config import REPOSITORY
from voxrec.cli.main import main
from voxrec.sandbox.debian_program import program_command
from voxrec.sandbox.rootfs import Recipe

PROMETHEUS: Final = Recipe("prometheus", "bookworm", ("prometheus",))
RULES: Final = REPOSITORY / "etc" / "prometheus" / "voxrec.rules.yml"
DASHBOARD: Final = REPOSITORY / "etc" / "grafana" / "voxrec.json"
_METRIC: Final = re.compile(r"\bvoxrec_[a-z_]+")


def unknown_metrics(text: str) -> set[str]:
    """Return the metrics in ``text`` that voxrec does not have."""
    known = {metric.name + suffix for metric in metrics_in(REPOSITORY / "voxrec") for suffix in METRIC_SUFFIXES}
    return set(_METRIC.findall(text)) - known


class AlertRuleTests(SynchronousTestCase):
    def promtool(self, *arguments: str) -> None:
        command = [*program_command(PROMETHEUS, "usr/bin/promtool"), *arguments]
        completed = subprocess.run(  # noqa: S603
            command, cwd=RULES.parent, capture_output=True, text=True, check=False
        )
        self.assertEqual(completed.returncode, 0, completed.stdout + completed.stderr)

    def test_prometheus_accepts_the_rules(self) -> None:
        self.promtool("check", "rules", RULES.name)

    def test_when_alerts_fire(self) -> None:
        self.promtool("test", "rules", "voxrec.rules.test.yml")

    def test_the_metrics_exist(self) -> None:
        self.assertEqual(unknown_metrics(RULES.read_text()), set())
        self.assertEqual(unknown_metrics("voxrec_nonsense"), {"voxrec_nonsense"})


class DashboardTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.dashboard: dict[str, Any] = json.loads(DASHBOARD.read_text())

    def test_the_metrics_exist(self) -> None:
        expressions = [target["expr"] for panel in self.dashboard["panels"] for target in panel["targets"]]
        self.assertEqual(unknown_metrics("\n".join(expressions)), set())

    def test_panels_have_ids_and_do_not_overlap(self) -> None:
        panels = self.dashboard["panels"]
        self.assertEqual(len({panel["id"] for panel in panels}), len(panels))
        cells = [
            (x, y)
            for grid in (panel["gridPos"] for panel in panels)
            for x in range(grid["x"], grid["x"] + grid["w"])
            for y in range(grid["y"], grid["y"] + grid["h"])
        ]
        self.assertEqual(len(set(cells)), len(cells))
        self.assertLess(max(x for x, _ in cells), 24)


class ManualPageTests(SynchronousTestCase):
    page = REPOSITORY / "man" / "voxrec.1"

    def test_it_names_every_command_with_its_options_and_their_values(self) -> None:
        text = self.page.read_text().replace("\\-", "-")
        sections = re.findall(r'^\.SS "voxrec ([^"]*)"\n(.*?)(?=^\.S[HS])', text, re.MULTILINE | re.DOTALL)
        for path, command in self.commands(main):
            with subtest(path):
                found = [section for title, section in sections if re.match(rf"{re.escape(path)}(?![\w-])", title)]
                self.assertEqual(len(found), 1)
                options = [each for each in command.params if isinstance(each, click.Option)]
                names = [name for option in options for name in option.opts if name.startswith("--")]
                choices = ["|".join(each.type.choices) for each in options if isinstance(each.type, click.Choice)]
                self.assertEqual([name for name in (*names, *choices) if name not in found[0]], [])

    def commands(self, command: click.Command, path: str = "") -> list[tuple[str, click.Command]]:
        """Return the commands below a command that are no groups, with their paths."""
        if not isinstance(command, click.Group):
            return [(path, command)]
        below = command.commands.items()
        return [found for name, each in below for found in self.commands(each, f"{path} {name}".strip())]

    def test_groff_has_no_warnings(self) -> None:
        command = ["groff", "-man", "-Tutf8", "-ww", "-z", str(self.page)]
        completed = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        self.assertEqual((completed.returncode, completed.stderr), (0, ""))
