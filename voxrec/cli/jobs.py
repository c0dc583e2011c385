"""``voxrec jobs``: what is owed to Recordings, what was given up, and how to start it again."""

import shutil
from pathlib import Path
from typing import Final
from uuid import UUID

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from voxrec.cli.context import by_command, config_option, daemon_database
from voxrec.model import Job, JobKind, JobState
from voxrec.postgres.blocking_database import run_to_completion
from voxrec.store.audit import Audit
from voxrec.store.jobs import JobFilter, Jobs

_UNDONE: Final = [state.value for state in JobState if state is not JobState.DONE]
_WIDE: Final = 1000  # columns, where nobody's terminal is: a line of its own for each job


@click.group()
def jobs() -> None:
    """What is owed to Recordings: finishing, mailing, erasing."""


@jobs.command("list")
@click.option("--state", "states", multiple=True, type=click.Choice(_UNDONE), help="Only such; may be repeated.")
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    type=click.Choice([kind.value for kind in JobKind]),
    help="Only such; may be repeated.",
)
@click.option("--recording", "recording_id", type=click.UUID, metavar="ID", help="Only those of this Recording.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=100, show_default=True, help="How many at most.")
@config_option
def list_(states: tuple[str, ...], kinds: tuple[str, ...], recording_id: UUID | None, limit: int, file: Path) -> None:
    """Show what is not done, newest first. The last column says why the last attempt failed."""
    wanted = JobFilter(kinds=tuple(map(JobKind, kinds)), states=tuple(map(JobState, states)), recording_id=recording_id)
    with daemon_database(file) as database:
        found = run_to_completion(Jobs(database).page(wanted, limit))
    table = Table(box=None, pad_edge=False, header_style="")
    for heading in ("ID", "STATE", "KIND", "RECORDING", "ATTEMPTS", "DUE"):
        table.add_column(heading, no_wrap=True)
    table.add_column("LAST ERROR", overflow="fold")
    for job in found:
        table.add_row(*_row(job))
    _print(table)


@jobs.command()
@click.argument("job_id", type=click.UUID, metavar="ID")
@config_option
def show(job_id: UUID, file: Path) -> None:
    """Show one job, also where it is done."""
    with daemon_database(file) as database:
        job = run_to_completion(Jobs(database).get(job_id))
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, value in (
        ("job", str(job.id)),
        ("kind", job.kind.value),
        ("recording", str(job.recording_id)),
        ("state", job.state.value),
        ("attempts", str(job.attempts)),
        ("since", f"{job.created_at:%Y-%m-%d %H:%M:%S} UTC"),
        ("due", f"{job.due_at:%Y-%m-%d %H:%M:%S} UTC"),
        ("last error", job.last_error or "none"),
    ):
        table.add_row(name, Text(value))
    _print(table)


@jobs.command()
@click.argument("job_ids", nargs=-1, type=click.UUID, metavar="[ID]...")
@click.option("--dead", is_flag=True, help="All that were given up.")
@config_option
def retry(job_ids: tuple[UUID, ...], dead: bool, file: Path) -> None:
    """Try jobs now, as if for the first time: those named, or all that were given up.

    All of them or, where one of those named cannot be, none. Whoever refused a mail is asked again.
    """
    if bool(job_ids) == dead:
        raise click.UsageError("Name jobs, or give --dead.")
    with daemon_database(file) as database:
        queue = Jobs(database)
        chosen = job_ids or tuple(run_to_completion(_dead(queue)))
        for job_id in chosen:
            run_to_completion(Audit(database).begin(by_command("voxrec jobs retry", "job", job_id)))
            run_to_completion(queue.restart(job_id))
    click.echo(f"{len(chosen)} {'job is' if len(chosen) == 1 else 'jobs are'} due now")


async def _dead(queue: Jobs) -> list[UUID]:
    return [job.id async for page in queue.pages(JobFilter(states=[JobState.DEAD])) for job in page]


def _row(job: Job) -> tuple[Text, ...]:
    cells = (
        str(job.id),
        job.state.value,
        job.kind.value,
        str(job.recording_id),
        str(job.attempts),
        f"{job.due_at:%Y-%m-%d %H:%M:%S}",
        job.last_error or "",
    )
    return tuple(map(Text, cells))  # what a mail relay said is no markup


def _print(table: Table) -> None:
    console = Console(highlight=False)
    console.width = shutil.get_terminal_size().columns if console.is_terminal else _WIDE
    console.print(table)
