"""The table of metrics, read from the calls in the source that declare them."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

METRIC_SUFFIXES: Final = ("", "_total", "_bucket", "_sum", "_count")  # that prometheus_client adds
_PREFIX: Final = "voxrec_"
_TYPES: Final = {"counter": "counter", "histogram": "histogram"}  # every other declaration is a gauge


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric as it is declared; ``name`` without the suffixes of its type."""

    name: str
    type: str
    labels: tuple[str, ...]
    help: str

    @property
    def exposed_name(self) -> str:
        """The name on the /metrics page."""
        return f"{self.name}_total" if self.type == "counter" else self.name


def metrics_in(package: Path) -> list[Metric]:
    """Return all metrics that the modules of a package declare, in alphabetical order."""
    found = {metric.name: metric for file in sorted(package.rglob("*.py")) for metric in _declared_in(file)}
    return [found[name] for name in sorted(found)]


def _declared_in(file: Path) -> Iterator[Metric]:
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Call):
            match node.args:
                case [ast.Constant(value=str(name)), ast.Constant(value=str(help_)), *rest] if name.startswith(_PREFIX):
                    yield Metric(name, _type(node.func), _labels(rest), help_)


def _type(function: ast.expr) -> str:
    return _TYPES.get(function.id.lower(), "gauge") if isinstance(function, ast.Name) else "gauge"


def _labels(rest: list[ast.expr]) -> tuple[str, ...]:
    for node in rest:
        if isinstance(node, ast.List | ast.Tuple):
            return tuple(str(element.value) for element in node.elts if isinstance(element, ast.Constant))
    return ()


def metrics_page(package: Path) -> str:
    """Return the table of metrics as Markdown."""
    rows = [
        f"| `{metric.exposed_name}` | {metric.type} | {', '.join(f'`{label}`' for label in metric.labels)} "
        f"| {metric.help.replace('|', chr(92) + '|')} |"
        for metric in metrics_in(package)
    ]
    return "\n".join(["| metric | type | labels | meaning |", "| --- | --- | --- | --- |", *rows, ""])
