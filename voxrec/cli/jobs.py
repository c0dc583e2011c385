"""``voxrec jobs``: lists the jobs of the queue, and restarts dead ones."""

import shutil
from pathlib import Path
from typing import Final
from uuid import UUID

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from voxrec.cli.context import audit_entry_for_command, config_option, daemon_database
from voxrec.model import Job, JobKind, JobState
from voxrec.postgres.blocking_database import run_to_completion
from voxrec.store.audit import Audit
from voxrec.store.jobs import JobFilter, Jobs

_UNFINISHED_STATES: Final = [state.value for state in JobState if state is not JobState.DONE]
_WIDTH_WITHOUT_TERMINAL: Final = 1000  # columns: each job is one line for programs that read the output


@click.group()
def jobs() -> None:
    """Background jobs of Recordings: finish, upload, mail, erase."""


@jobs.command("list")
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice(_UNFINISHED_STATES),
    help="Only jobs in this state; repeatable.",
)
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    type=click.Choice([kind.value for kind in JobKind]),
    help="Only jobs of this kind; repeatable.",
)
@click.option("--recording", "recording_id", type=click.UUID, metavar="ID", help="Only jobs of this Recording.")
@click.option(
    "--limit", type=click.IntRange(1, 100_000), default=100, show_default=True, help="Maximum number of jobs."
)
@config_option
def list_(
    states: tuple[str, ...], kinds: tuple[str, ...], recording_id: UUID | None, limit: int, config_file: Path
) -> None:
    """List the jobs that are not done, newest first. LAST ERROR is the reason why the last attempt failed."""
    job_filter = JobFilter(
        kinds=tuple(map(JobKind, kinds)), states=tuple(map(JobState, states)), recording_id=recording_id
    )
    with daemon_database(config_file) as database:
        page = run_to_completion(Jobs(database).page(job_filter, limit))
    table = Table(box=None, pad_edge=False, header_style="")
    for heading in ("ID", "STATE", "KIND", "RECORDING", "ATTEMPTS", "DUE"):
        table.add_column(heading, no_wrap=True)
    table.add_column("LAST ERROR", overflow="fold")
    for job in page:
        table.add_row(*_row(job))
    _print(table)


@jobs.command()
@click.argument("job_id", type=click.UUID, metavar="ID")
@config_option
def show(job_id: UUID, config_file: Path) -> None:
    """Show one job, which may be done."""
    with daemon_database(config_file) as database:
        job = run_to_completion(Jobs(database).get(job_id))
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, value in (
        ("job", str(job.id)),
        ("kind", job.kind.value),
        ("recording", str(job.recording_id)),
        ("state", job.state.value),
        ("attempts", str(job.attempts)),
        ("created", f"{job.created_at:%Y-%m-%d %H:%M:%S} UTC"),
        ("due", f"{job.due_at:%Y-%m-%d %H:%M:%S} UTC"),
        ("last error", job.last_error or "none"),
    ):
        table.add_row(name, Text(value))
    _print(table)


@jobs.command()
@click.argument("job_ids", nargs=-1, type=click.UUID, metavar="[ID]...")
@click.option("--dead", is_flag=True, help="Retry all dead jobs.")
@config_option
def retry(job_ids: tuple[UUID, ...], dead: bool, config_file: Path) -> None:
    """Restart jobs now, with a new count of attempts: those with the given IDs, or all dead ones.

    If one of the IDs does not exist, or its job is done, no job is restarted. A mail is also sent again to recipients
    that were refused. An unconfirmed mail, which may have been delivered, is sent again only by its ID.
    """
    if bool(job_ids) == dead:
        raise click.UsageError("Pass either job IDs or --dead.")
    with daemon_database(config_file) as database:
        repository = Jobs(database)
        restarted = job_ids or tuple(run_to_completion(_dead_job_ids(repository)))
        for job_id in restarted:
            run_to_completion(Audit(database).begin(audit_entry_for_command("voxrec jobs retry", "job", job_id)))
            run_to_completion(repository.restart(job_id))
    click.echo(f"{len(restarted)} {'job is' if len(restarted) == 1 else 'jobs are'} due now")


@jobs.command()
@click.argument("job_ids", nargs=-1, required=True, type=click.UUID, metavar="ID...")
@config_option
def confirm(job_ids: tuple[UUID, ...], config_file: Path) -> None:
    """End unconfirmed jobs, whose mails have arrived.

    A job is unconfirmed if the mail server received the mail, but did not say whether it accepts it.
    """
    with daemon_database(config_file) as database:
        for job_id in job_ids:
            run_to_completion(Audit(database).begin(audit_entry_for_command("voxrec jobs confirm", "job", job_id)))
            run_to_completion(Jobs(database).confirm(job_id))
    click.echo(f"{len(job_ids)} {'job is' if len(job_ids) == 1 else 'jobs are'} done")


async def _dead_job_ids(repository: Jobs) -> list[UUID]:
    return [job.id async for page in repository.pages(JobFilter(states=[JobState.DEAD])) for job in page]


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
    return tuple(map(Text, cells))  # not markup: an error may contain the reply of a mail relay


def _print(table: Table) -> None:
    console = Console(highlight=False)
    console.width = shutil.get_terminal_size().columns if console.is_terminal else _WIDTH_WITHOUT_TERMINAL
    console.print(table)
