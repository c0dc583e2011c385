"""The voxrec commands in README and docs/ can be entered as written: commands, options, arguments and choices exist."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
from twisted.trial.unittest import SynchronousTestCase

from docs.extensions.references import markdown_files
from voxrec.cli.main import main as voxrec_command

ROOT: Final = Path(__file__).parents[2]
_COMMAND: Final = re.compile(
    r"(?:^ {4,}(?:runuser -u voxrec -- )?(?:/opt/voxrec/bin/)?|`)voxrec ([^`\n]*)", re.MULTILINE
)


def commands_in(text: str) -> Iterator[list[str]]:
    """Yield the words after "voxrec" of the commands in code blocks and code spans, without their comments."""
    for found in _COMMAND.findall(text):
        yield shlex.split(found, comments=True)


def fault_in(words: list[str]) -> str:
    """Return what click would say to a command; empty if it accepts it. A code span may leave arguments out."""
    command: click.Command = voxrec_command
    while isinstance(command, click.Group):
        if not words:
            return ""
        name, *words = words
        if name not in command.commands:
            return f"no command {name}"
        command = command.commands[name]
    context = click.Context(command)
    try:
        values, surplus, _ = command.make_parser(context).parse_args(list(words))
        for parameter in command.params:
            if isinstance(parameter.type, click.Choice) and values.get(parameter.name) is not None:
                parameter.type_cast_value(context, values[parameter.name])
    except click.UsageError as error:
        return error.format_message()
    return f"unexpected {surplus}" if surplus else ""


class CommandTests(SynchronousTestCase):
    def test_every_command_is_accepted(self) -> None:
        commands = [(file, words) for file in markdown_files(ROOT) for words in commands_in(file.read_text())]
        self.assertGreater(len(commands), 60)
        faults = [(file.name, " ".join(words), fault_in(words)) for file, words in commands]
        self.assertEqual([fault for fault in faults if fault[2]], [])

    def test_faults_are_found(self) -> None:
        text = (
            "    runuser -u voxrec -- voxrec nodes rename a b  # comment\n`voxrec jobs list --state dead`, `voxrec.x`"
        )
        self.assertEqual(list(commands_in(text)), [["nodes", "rename", "a", "b"], ["jobs", "list", "--state", "dead"]])
        self.assertEqual([fault_in(words) for words in commands_in(text)], ["", ""])
        self.assertEqual(fault_in(["jobs", "nothing"]), "no command nothing")
        self.assertIn("--stat", fault_in(["jobs", "list", "--stat", "dead"]))
        self.assertIn("late", fault_in(["jobs", "list", "--state", "late"]))
        self.assertIn("c", fault_in(["nodes", "rename", "a", "b", "c"]))
