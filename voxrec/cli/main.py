"""The entry point of the ``voxrec`` command."""

from pathlib import Path

import click

from voxrec import config
from voxrec.cli.archive import archive
from voxrec.cli.backup import backup, restore
from voxrec.cli.certificates import certificates
from voxrec.cli.doctor import doctor
from voxrec.cli.jobs import jobs
from voxrec.cli.links import links
from voxrec.cli.nodes import nodes
from voxrec.cli.token import token
from voxrec.cli.user import user
from voxrec.cli.webhooks import webhooks
from voxrec.errors import ConfigError


@click.group()
@click.version_option(package_name="voxrec")
def main() -> None:
    """Administer a voxrec daemon. The daemon itself is started with ``twistd voxrec``."""


@main.command("check-config")
@click.argument("file", type=click.Path(path_type=Path))
def check_config(file: Path) -> None:
    """Check the settings in FILE, and report every invalid one.

    Credentials and sockets that systemd gives only to the daemon are not checked, and listed.
    """
    unchecked: list[str] = []
    try:
        config.load(file, unchecked=unchecked)
    except ConfigError as error:
        raise click.ClickException(str(error)) from error
    for setting in unchecked:
        click.echo(f"not checked: {setting}", err=True)
    click.echo(f"{file}: valid")


main.add_command(archive)
main.add_command(backup)
main.add_command(certificates)
main.add_command(doctor)
main.add_command(jobs)
main.add_command(links)
main.add_command(nodes)
main.add_command(restore)
main.add_command(token)
main.add_command(user)
main.add_command(webhooks)
