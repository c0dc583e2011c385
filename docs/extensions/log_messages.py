"""The table of log messages that an operator should act on: texts from the code, actions from log_messages.yaml.

Every message of level warning or above has an action there, and every action a message.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

_LEVELS: Final = {"warn": "warning", "error": "error", "critical": "critical", "failure": "critical, with a traceback"}
_NOT_THE_DAEMON: Final = "sandbox"


@dataclass(frozen=True, slots=True)
class LogMessage:
    """One call of a logger; ``text`` with its placeholders."""

    text: str
    level: str
    module: str


def messages_in(root: Path) -> list[LogMessage]:
    """Return the messages of level warning or above that the daemon's modules log, by module."""
    return [
        message
        for file in sorted((root / "voxrec").rglob("*.py"))
        if _NOT_THE_DAEMON not in file.parts
        for message in _messages_of(file, root)
    ]


def _messages_of(file: Path, root: Path) -> Iterator[LogMessage]:
    module = ".".join(file.relative_to(root).with_suffix("").parts)
    for node in ast.walk(ast.parse(file.read_bytes())):
        match node:
            case ast.Call(
                func=ast.Attribute(attr=level, value=ast.Name(id=logger) | ast.Attribute(attr=logger)),
                args=[ast.Constant(value=str(text)), *_],
            ) if level in _LEVELS and logger in ("log", "_log"):
                yield LogMessage(text, _LEVELS[level], module)


def actions(root: Path) -> dict[str, str]:
    """Return what to do about each message, by its text."""
    loaded = yaml.safe_load((root / "docs" / "log_messages.yaml").read_text(encoding="utf-8"))
    return {entry["message"]: entry["action"] for entry in loaded}


def mismatches(root: Path) -> list[str]:
    """Return what is missing in log_messages.yaml, and what is no longer in the code."""
    texts = {message.text for message in messages_in(root)}
    known = actions(root)
    return [
        *(f"no action for the log message {text!r}" for text in sorted(texts.difference(known))),
        *(f"the code does not log {text!r}" for text in sorted(known.keys() - texts)),
    ]


def log_messages_page(root: Path) -> str:
    """Return the table as Markdown."""
    known = actions(root)
    rows = [
        f"| {_cell(message.text)} | {message.level} | `{message.module}` | {known.get(message.text, '')} |"
        for message in dict.fromkeys(messages_in(root))
    ]
    return "\n".join(["| message | level | logged by | what to do |", "| --- | --- | --- | --- |", *rows, ""])


def _cell(text: str) -> str:
    return "`` " + text.replace("|", "\\|") + " ``"
