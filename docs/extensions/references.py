"""Check the code references in the project's Markdown files.

An inline code span is checked if it has one of these forms:

- a path of the checkout, optionally with a name in it: ``voxrec/web/site.py``, ``voxrec/web/site.py:RestSite.begin``;
- a module: ``voxrec.web.site``;
- a setting: ``mail.timeout``;
- a metric: ``voxrec_jobs_dead``;
- a command: ``make docs``, ``voxrec jobs list``.

Modules of ``tests`` and ``bench``, and classes in them, are checked wherever they occur. Other code spans, fenced code
blocks and external links are not checked. Relative links must lead to a file, and to a heading if they name one; so
must the references to pages in code, settings and manual (``docs.extensions.sections``).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Final
from urllib.parse import unquote

import click
import msgspec

from docs.extensions.metrics import METRIC_SUFFIXES, metrics_in
from docs.extensions.python_names import names_defined_in
from docs.extensions.sections import anchors_of, mentions_in, prose, sections_of, text_files
from voxrec.cli.main import main as voxrec_command
from voxrec.config import Config

_SPAN: Final = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)")
# a target has a letter: "[general](+)" is Asterisk's syntax
_LINK: Final = re.compile(r"\[[^\]]*\]\(([^)\s]*[A-Za-z][^)\s]*)\)")
_PATH: Final = re.compile(
    r"((?:voxrec|tests|bench|docs|etc|systemd|twisted|\.ci)/[\w./-]*|[A-Z]+\.md|setup\.cfg|pyproject\.toml|Makefile)"
    r"(?::([A-Za-z_][\w.]*))?"
)
_MODULE: Final = re.compile(r"voxrec(?:\.[a-z_]+)+")
_FILE_SUFFIXES: Final = ("conf", "html", "yaml")  # `asterisk.conf` is a file, not a setting
_TEST_OR_BENCHMARK: Final = re.compile(r"(?<![\w./])(?:tests|bench)(?:\.\w+)+")
_METRIC: Final = re.compile(r"(voxrec_[a-z_]+?)(?:\{.*\})?")


@dataclass(frozen=True, slots=True)
class BrokenReference:
    """A reference that leads nowhere. ``line`` counts from 1."""

    file: Path
    line: int
    reference: str
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reference}: {self.reason}"


def markdown_files(root: Path) -> list[Path]:
    """Return the Markdown files of a checkout: those at its top and the sources of the documentation."""
    generated = root / "docs" / "_build", root / "docs" / "_generated"
    pages = [page for page in root.glob("docs/**/*.md") if not any(page.is_relative_to(skip) for skip in generated)]
    return sorted([*root.glob("*.md"), *pages])


def code_spans(line: str) -> list[str]:
    """Return the contents of the inline code spans of a line."""
    return [span[2].strip() for span in _SPAN.finditer(line)]


class ReferenceChecker:
    """Checks references against one checkout."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def broken(self) -> list[BrokenReference]:
        """Return every broken reference of the checkout's Markdown files, and of other files to sections of those."""
        in_pages = [found for file in markdown_files(self._root) for found in self._broken_in(file)]
        return in_pages + [found for file in text_files(self._root) for found in self._broken_mentions_in(file)]

    def _broken_in(self, file: Path) -> Iterator[BrokenReference]:
        name = file.relative_to(self._root)
        for number, line in prose(file.read_text(encoding="utf-8")):
            for span in code_spans(line):
                reason = self.fault(span)
                if reason:
                    yield BrokenReference(name, number, span, reason)
            for dotted in _TEST_OR_BENCHMARK.findall(line):
                if not self._is_module_or_name(dotted):
                    yield BrokenReference(name, number, dotted, "no such module, and no such name in one")
            for link in _LINK.finditer(_SPAN.sub("", line)):
                if reason := self._link_fault(file, link[1]):
                    yield BrokenReference(name, number, link[1], reason)

    def _broken_mentions_in(self, file: Path) -> Iterator[BrokenReference]:
        for mention in mentions_in(file.read_text(encoding="utf-8")):
            page = self._root / mention.page
            if not page.exists():
                yield BrokenReference(file.relative_to(self._root), mention.line, mention.page, "no such file")
            elif mention.section and mention.section not in sections_of(page):
                reason = f"{mention.page} has no such section"
                yield BrokenReference(file.relative_to(self._root), mention.line, mention.section, reason)

    @staticmethod
    def _link_fault(file: Path, link: str) -> str:
        path, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", path):
            return ""
        target = file.parent / unquote(path) if path else file
        if not target.exists():
            return "no such file"
        return "no such heading" if anchor and target.suffix == ".md" and anchor not in anchors_of(target) else ""

    def fault(self, span: str) -> str:
        """Return what is wrong with the reference in a code span; empty if it is sound, or no reference."""
        if path := _PATH.fullmatch(span):
            return self._path_fault(path[1], path[2])
        if _MODULE.fullmatch(span):
            return "" if self._is_module_or_name(span) else "no such module, and no such name in one"
        if metric := _METRIC.fullmatch(span):
            return "" if self._is_metric(metric[1]) else "no such metric"
        section, _, name = span.partition(".")
        if section in _settings() and re.fullmatch("[a-z_]+", name) and name not in _FILE_SUFFIXES:
            return "" if name in _settings()[section] else f"no such setting of {section}"
        match span.split():
            case ["make", target, *_]:
                return "" if target in self._make_targets else "no such target in the Makefile"
            case ["voxrec", *words]:
                return _command_fault(words)
            case _:
                return ""

    def _path_fault(self, path: str, name: str | None) -> str:
        file = self._root / path
        if not file.exists():
            return "no such file"
        if name is None:
            return ""
        if file.suffix != ".py":
            return "only a Python file can be followed by a name"
        return "" if name in names_defined_in(file) else f"no {name} in this file"

    def _is_module_or_name(self, dotted: str) -> bool:
        base = self._root.joinpath(*dotted.split("."))
        if base.is_dir() or base.with_suffix(".py").is_file():
            return True
        module, _, name = dotted.rpartition(".")
        file = self._root.joinpath(*module.split(".")).with_suffix(".py")
        return file.is_file() and name in names_defined_in(file)

    def _is_metric(self, name: str) -> bool:
        return any(name.removesuffix(suffix) in self._metrics for suffix in METRIC_SUFFIXES)

    @cached_property
    def _metrics(self) -> frozenset[str]:
        return frozenset(metric.name for metric in metrics_in(self._root / "voxrec"))

    @cached_property
    def _make_targets(self) -> frozenset[str]:
        makefile = (self._root / "Makefile").read_text(encoding="utf-8")
        return frozenset(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))


@cache
def _settings() -> dict[str, frozenset[str]]:
    """Return the names of all settings, by section."""
    return {
        section.name: frozenset(setting.name for setting in msgspec.structs.fields(section.type))
        for section in msgspec.structs.fields(Config)
        if isinstance(section.type, type) and issubclass(section.type, msgspec.Struct)
    }


def _command_fault(words: list[str]) -> str:
    command: click.Command = voxrec_command
    for word in words:
        if not isinstance(command, click.Group) or not re.fullmatch("[a-z][a-z-]*", word):
            return ""
        if word not in command.commands:
            return f"voxrec has no command {word}"
        command = command.commands[word]
    return ""
