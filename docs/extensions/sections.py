"""Sections of Markdown files, and the places in other files that mention them.

A file mentions a page by its path, with or without a section: ``docs/service.md``, ``docs/service.md, "Priorities"``,
or ``"Priorities" in docs/service.md``. Lines may be broken after the comma and in the name of the section, also in
comments.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

_FENCE: Final = re.compile(r"^\s*(```+|~~~+)")
_HEADING: Final = re.compile(r"#{1,6} +(.+?) *")
_PAGE: Final = r"(?<![\w/.])`?((?:docs|bench)/[\w-]+(?:\.md)?(?!\.?[\w/-])|(?:README|CONTRIBUTING|SECURITY|NEWS)\.md)`?"
_MENTION: Final = re.compile(
    rf"""(?:\\?"(?P<before>[^"\\]{{1,80}})\\?"\ in\ )?{_PAGE}(?:,[\s\#]*\\?"(?P<after>[^"\\]{{1,80}})\\?")?""",
    re.VERBOSE,
)
_LINE_BREAK: Final = re.compile(r"\s*\n[\s#]*")
_TOP: Final = ("voxrec", "bench", "tests", "etc", "systemd", "containers", "man", "docs", "twisted")
_SUFFIXES: Final = {"", ".1", ".asterisk", ".cfg", ".conf", ".html", ".md", ".py", ".service", ".sql", ".yaml", ".yml"}
_SKIPPED: Final = {"_build", "_generated", "__pycache__", "vendor"}


@dataclass(frozen=True, slots=True)
class Mention:
    """A page that a text names, and its section, which is empty if it names none. ``line`` counts from 1."""

    page: str
    section: str
    line: int


def prose(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines of a Markdown text outside fenced blocks, with their numbers."""
    fence = ""
    for number, line in enumerate(text.splitlines(), start=1):
        found = _FENCE.match(line)
        if found is not None and not fence:
            fence = found[1]
        elif found is not None and line.strip() == fence:
            fence = ""
        elif not fence:
            yield number, line


@cache
def sections_of(page: Path) -> frozenset[str]:
    """Return the headings of a Markdown file, without the marks of code spans."""
    headings = (_HEADING.fullmatch(line) for _, line in prose(page.read_text(encoding="utf-8")))
    return frozenset(heading[1].replace("`", "") for heading in headings if heading is not None)


def anchors_of(page: Path) -> frozenset[str]:
    """Return the anchors of a Markdown file's headings, as GitHub and MyST form them."""
    return frozenset(re.sub(r"[^\w\- ]", "", section.lower()).replace(" ", "-") for section in sections_of(page))


def mentions_in(text: str) -> Iterator[Mention]:
    """Yield the pages that a text names, in its order."""
    for found in _MENTION.finditer(text):
        yield Mention(
            page=found[2],
            section=_LINE_BREAK.sub(" ", found["before"] or found["after"] or ""),
            line=text.count("\n", 0, found.start()) + 1,
        )


def text_files(root: Path) -> list[Path]:
    """Return the files of a checkout that can mention pages: code, tests, settings, units, manual and documentation."""
    below = [file for top in _TOP for file in (root / top).rglob("*") if file.suffix in _SUFFIXES and file.is_file()]
    kept = [file for file in below if _SKIPPED.isdisjoint(file.relative_to(root).parts)]
    examples = root / "tests" / "docs"  # these tests contain references that are broken on purpose
    return sorted([*root.glob("*.md"), *(file for file in kept if not file.is_relative_to(examples))])
