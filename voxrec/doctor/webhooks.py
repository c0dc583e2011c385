"""Checks of the settings of webhooks, and of those that were disabled."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from voxrec.certificate import CertificateError, trust_root
from voxrec.config import Config
from voxrec.doctor.finding import Finding, failed, ok, warning
from voxrec.errors import VoxrecError
from voxrec.postgres.cluster import dsn_of_running_server
from voxrec.postgres.requirements import connect
from voxrec.store.webhook_health import read_webhook_health


def check_webhooks(config: Config) -> Iterator[Finding]:
    """Check the file of certificates, and that no webhook is disabled or fails."""
    ca_file = config.webhooks.ca_file
    try:
        trust_root(Path(ca_file) if ca_file else None)
    except CertificateError as error:
        yield failed("webhooks ca_file", error.detail, "correct webhooks.ca_file")
    if config.webhooks.allowed_networks:
        networks = ", ".join(config.webhooks.allowed_networks)
        yield ok("webhooks allowed_networks", f"requests may also be sent to {networks}")
    try:
        dsn = str(config.database.dsn) or dsn_of_running_server(Path(config.data_directory, "postgres"))
        with closing(connect(dsn)) as connection:
            health = read_webhook_health(connection)
    except VoxrecError:
        return  # the findings about the database say why
    if health is None:
        return  # the schema is older; see the finding about migrations
    if health.disabled:
        yield warning(
            "webhooks",
            f"{health.disabled} of {health.total} were disabled, because their receivers failed",
            "see disabledReason in GET /webhooks, and enable them by POST /webhooks/<id>",
        )
    elif health.failing:
        yield warning(
            "webhooks", f"{health.failing} of {health.total} fail at present", "see GET /webhooks/<id>/attempts"
        )
    else:
        yield ok("webhooks", f"{health.total} exist, and none fails")
