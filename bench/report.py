"""What the benchmarks report: sections with tables, charts and reaches, kept as JSON and shown as bench/RESULTS.md.

A part measures, makes its Sections, and calls `publish`. Parts can be run alone: what the others found stays.
"""

import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Final

import msgspec

from bench.measure import Spread

HERE: Final = Path(__file__).parent
EXPLAINED: Final = HERE / "explained.md"
"""Written by hand, and the report's end: why what was missed was missed, and what each optimisation brought."""
PARTS: Final = (
    *("setup", "media", "controller", "calls", "ceiling", "footprint"),
    *("rest", "postgres", "growth", "lists", "finish", "micro"),
)
"""Every part, in the order in which RESULTS.md shows them; ``python -m bench.<part>`` runs one."""

_WIDTH, _LABELS, _BAR, _GAP = 760, 270, 18, 8  # of a chart, in pixels


class Table(msgspec.Struct, frozen=True):
    """Cells as they are to be shown; the first column holds names, the others figures."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class Reach(msgspec.Struct, frozen=True):
    """What was aimed at, what came, and whether that is good enough."""

    aim: str
    found: str
    held: bool

    @classmethod
    def at_most(cls, aim: str, found: float, limit: float, unit: str = "") -> "Reach":
        """Held where ``found`` is not above ``limit``."""
        return cls(f"{aim}: at most {limit:g}{unit}", f"{found:.3g}{unit}", found <= limit)

    @classmethod
    def at_least(cls, aim: str, found: float, limit: float, unit: str = "") -> "Reach":
        """Held where ``found`` is not below ``limit``."""
        return cls(f"{aim}: at least {limit:g}{unit}", f"{found:.3g}{unit}", found >= limit)


class Bars(msgspec.Struct, frozen=True):
    """A chart: one bar for each name, as long as the median, with a whisker from the lowest to the highest."""

    title: str
    unit: str
    bars: dict[str, Spread]

    @classmethod
    def of(cls, title: str, unit: str, values: Mapping[str, Sequence[float]]) -> "Bars":
        """A chart of what was measured for each name."""
        return cls(title, unit, {name: Spread.of(each) for name, each in values.items()})


class Section(msgspec.Struct, frozen=True):
    """One question and its answer. ``intro`` and ``notes`` are Markdown; ``bars`` becomes an SVG file."""

    title: str
    intro: str
    tables: tuple[Table, ...] = ()
    reaches: tuple[Reach, ...] = ()
    bars: Bars | None = None
    notes: str = ""


class _Part(msgspec.Struct, frozen=True):
    measured: datetime
    machine: str
    rounds: int
    sections: tuple[Section, ...]


def publish(part: str, sections: Sequence[Section], rounds: int, directory: Path = HERE) -> None:
    """Keep what a part found, and show all that is known anew in ``directory``/RESULTS.md and its charts."""
    if part not in PARTS:
        raise ValueError(f"{part!r} is none of {', '.join(PARTS)}")
    results = directory / "results"
    results.mkdir(parents=True, exist_ok=True)
    found = _Part(datetime.now(UTC).replace(microsecond=0), machine(), rounds, tuple(sections))
    (results / f"{part}.json").write_bytes(msgspec.json.format(msgspec.json.encode(found)) + b"\n")
    render(directory)


def render(directory: Path = HERE) -> None:
    """Write RESULTS.md and the charts from what is kept."""
    results = directory / "results"
    known = {
        name: msgspec.json.decode(path.read_bytes(), type=_Part)
        for name in PARTS
        if (path := results / f"{name}.json").exists()
    }
    reaches = [reach for part in known.values() for section in part.sections for reach in section.reaches]
    lines = [
        "# What voxrec costs",
        "",
        "Written by `make bench`. Ways that are compared were measured in turn, in one session, on one machine; "
        "figures are medians, with the lowest and the highest round.",
        "",
        f"**{sum(reach.held for reach in reaches)} of {len(reaches)} reaches held.**",
        "",
    ]
    for name, part in known.items():
        for number, section in enumerate(part.sections, 1):
            chart = f"{name}-{number}.svg"
            if section.bars is not None:
                (results / chart).write_text(_svg(section.bars))
            lines += _shown(section, f"results/{chart}")
        rounds = f"{part.rounds} round{'s' if part.rounds != 1 else ''}"
        lines += [f"<sub>`python -m bench.{name}`, {part.measured:%Y-%m-%d %H:%M} UTC, {rounds}, {part.machine}</sub>"]
        lines += [""]
    explained = directory / EXPLAINED.name
    lines += [explained.read_text()] if explained.exists() else []
    (directory / "RESULTS.md").write_text("\n".join(lines))


def machine() -> str:
    """Processor, cores, memory, kernel and Python, in a line."""
    cpu = Path("/proc/cpuinfo").read_text()
    models = [line.partition(":")[2].strip() for line in cpu.splitlines() if line.startswith("model name")]
    cores = max(1, sum(line.startswith("processor") for line in cpu.splitlines()))
    memory = int(Path("/proc/meminfo").read_text().split()[1]) * 1024
    return (
        f"{cores} x {models[0] if models else platform.machine()}, {memory / 1e9:.0f} GB, "
        f"Linux {platform.release().split('-')[0]}, Python {platform.python_version()}"
    )


def markdown_table(table: Table) -> list[str]:
    """The lines of a table."""
    rule = ["---", *["---:"] * (len(table.columns) - 1)]
    return [f"| {' | '.join(cells)} |" for cells in (table.columns, rule, *table.rows)]


def _shown(section: Section, chart: str) -> list[str]:
    lines = [f"## {section.title}", "", section.intro, ""]
    for table in section.tables:
        lines += [*markdown_table(table), ""]
    if section.bars is not None:
        lines += [f"![{section.bars.title}]({chart})", ""]
    for reach in section.reaches:
        lines.append(f"- {'held' if reach.held else '**missed**'}: {reach.aim}. Found: {reach.found}.")
    if section.reaches:
        lines.append("")
    if section.notes:
        lines += [section.notes, ""]
    return lines


def _svg(chart: Bars) -> str:
    longest = max((high for _, _, high in chart.bars.values()), default=0.0) or 1.0
    scale = (_WIDTH - _LABELS - 130) / longest
    height = 40 + len(chart.bars) * (_BAR + _GAP)
    shapes = [f'<text x="10" y="20" font-weight="bold">{escape(chart.title)} ({escape(chart.unit)})</text>']
    for number, (name, (median, low, high)) in enumerate(chart.bars.items()):
        top = 34 + number * (_BAR + _GAP)
        middle, text = top + _BAR / 2, top + _BAR - 5
        start, end = _LABELS + low * scale, _LABELS + high * scale
        colour = "#2b6cb0" if name.startswith("voxrec") else "#a0aec0"
        shapes += [
            f'<text x="{_LABELS - 8}" y="{text}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{_LABELS}" y="{top}" width="{median * scale:.1f}" height="{_BAR}" fill="{colour}"/>',
            f'<path d="M{start:.1f} {middle}H{end:.1f}" stroke="#1a202c"/>',
            f'<text x="{max(end, _LABELS) + 8:.1f}" y="{text}">{median:.3g}</text>',
        ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" '
        'font-family="sans-serif" font-size="12">\n'
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>\n' + "\n".join(shapes) + "\n</svg>\n"
    )
