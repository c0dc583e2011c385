"""``voxrec doctor``: checks every condition of a working installation."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import click
import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from voxrec.cli.context import config_option
from voxrec.doctor.diagnosis import diagnose
from voxrec.doctor.finding import Finding, Status

_STYLES: Final = {Status.OK: "green", Status.WARNING: "yellow", Status.FAILED: "bold red", Status.SKIPPED: "dim"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@config_option
def doctor(as_json: bool, config_file: Path) -> None:
    """Check every condition of a working installation, and print the remedy for each that is not met.

    Run it as root: only root can examine what the accounts of voxrec and Asterisk may do. Nothing is changed, and no
    mail is sent. The exit status is 1 if a check has failed.
    """
    console = Console(highlight=False)
    findings = list(diagnose(config_file))
    sound = all(finding.status is not Status.FAILED for finding in findings)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode({"ok": sound, "checks": findings}), indent=2))
    elif console.is_terminal:
        console.print(_table(findings))
    else:
        for finding in findings:
            click.echo(_line(finding))
    if not as_json:
        click.echo(_summary(findings))
    if not sound:
        raise SystemExit(1)


def _table(findings: Iterable[Finding]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="")
    for heading in ("STATUS", "CHECK"):
        table.add_column(heading, no_wrap=True)
    table.add_column("FOUND", overflow="fold")
    for finding in findings:
        text = Text(finding.detail)  # not markup: an error may contain the reply of a mail relay
        if finding.remedy:
            text.append(f"\nRemedy: {finding.remedy}", style="bold")
        table.add_row(Text(finding.status.value, style=_STYLES[finding.status]), Text(finding.check), text)
    return table


def _line(finding: Finding) -> str:
    remedy = f" Remedy: {finding.remedy}" if finding.remedy else ""
    return f"{finding.status.value:<8} {finding.check:<24} {finding.detail}.{remedy}"


def _summary(findings: Iterable[Finding]) -> str:
    counts = Counter(finding.status for finding in findings)
    return ", ".join(f"{counts[status]} {status.value}" for status in Status)
