"""``voxrec webhooks``: replaces the secrets of webhooks."""

from datetime import timedelta
from pathlib import Path
from uuid import UUID

import click

from voxrec.cli.context import audit_entry_for_command, config_option, daemon_database
from voxrec.cli.table import echo_table
from voxrec.postgres.blocking_database import BlockingDatabase, run_to_completion
from voxrec.store.audit import Audit
from voxrec.store.webhooks import Webhooks

_MAX_OVERLAP = 2_592_000  # seconds, as in POST /webhooks/<id>/secret


@click.group()
def webhooks() -> None:
    """Webhooks, in the database of the daemon."""


@webhooks.command("rotate-secrets")
@click.argument("webhook_ids", nargs=-1, type=click.UUID, metavar="[ID]...")
@click.option("--all", "all_", is_flag=True, help="All webhooks.")
@click.option(
    "--overlap",
    type=click.IntRange(0, _MAX_OVERLAP),
    default=0,
    show_default=True,
    metavar="SECONDS",
    help="Time for which requests are also signed with the previous secret. 0: not at all, since others know it.",
)
@config_option
def rotate_secrets(webhook_ids: tuple[UUID, ...], *, all_: bool, overlap: int, config_file: Path) -> None:
    """Replace the secrets of webhooks, and print the new ones: the receivers need them."""
    if bool(webhook_ids) == all_:
        raise click.UsageError("Name the webhooks, or use --all.")
    with daemon_database(config_file) as database:
        ids = run_to_completion(_all_ids(Webhooks(database))) if all_ else dict.fromkeys(webhook_ids)
        rows = [_rotate(database, webhook_id, timedelta(seconds=overlap)) for webhook_id in ids]
    echo_table(("ID", "SECRET", "URL"), rows)


def _rotate(database: BlockingDatabase, webhook_id: UUID, overlap: timedelta) -> tuple[str, ...]:
    entry = audit_entry_for_command("voxrec webhooks rotate-secrets", "webhook secret", webhook_id)
    run_to_completion(Audit(database).begin(entry))
    repository = Webhooks(database)
    webhook = run_to_completion(repository.get(webhook_id))
    secret = run_to_completion(repository.rotate_secret(webhook_id, None, overlap))
    return (str(webhook_id), secret.secret, webhook.url)


async def _all_ids(repository: Webhooks) -> list[UUID]:
    return [webhook.id async for page in repository.pages() for webhook in page]
