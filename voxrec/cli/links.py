"""``voxrec links``: replaces the key of expiring links, and revokes links."""

from datetime import datetime
from pathlib import Path

import click

from voxrec.cli.context import audit_entry_for_command, config_option, daemon_database, now, parse_time
from voxrec.postgres.blocking_database import run_to_completion
from voxrec.store.audit import Audit
from voxrec.store.links import ALL_KEYS, Links


@click.group()
def links() -> None:
    """Expiring links, in the database of the daemon."""


@links.command("rotate-keys")
@click.option("--revoke-all", is_flag=True, help="Make all links that exist invalid at once.")
@click.option(
    "--revoke-before",
    type=parse_time,
    metavar="DATE",
    help="Make the links invalid that were signed by a key from before DATE, such as one in a backup of that time; a "
    "date means midnight UTC.",
)
@config_option
def rotate_keys(*, revoke_all: bool, revoke_before: datetime | None, config_file: Path) -> None:
    """Sign new links with a new key.

    Without an option, all links stay valid. Links that become invalid do so at once, also on pages that are open.
    """
    if revoke_all and revoke_before is not None:
        raise click.UsageError("--revoke-all and --revoke-before exclude each other.")
    if revoke_before is not None and revoke_before > now():
        raise click.BadParameter("is in the future", param_hint="--revoke-before")
    with daemon_database(config_file) as database:
        run_to_completion(Audit(database).begin(audit_entry_for_command("voxrec links rotate-keys", "link-key")))
        revoked = run_to_completion(Links(database).rotate_keys(ALL_KEYS if revoke_all else revoke_before))
    click.echo(f"new links are signed by a new key; links that were revoked: {revoked}")
