"""``voxrec certificates``: the certificates to which mails are encrypted."""

from dataclasses import asdict
from pathlib import Path
from uuid import UUID, uuid4

import click

from voxrec.cli.context import audit_entry_for_command, config_option, daemon_database, now
from voxrec.cli.table import echo_table
from voxrec.mail.certificate_facts import InvalidCertificateError, date_text
from voxrec.mail.certificate_upload import certificate_text, read_certificate
from voxrec.model import RecipientCertificate
from voxrec.model.recipient_certificate import MAX_CERTIFICATE_LENGTH, address_errors
from voxrec.postgres.blocking_database import BlockingDatabase, run_to_completion
from voxrec.store.audit import Audit
from voxrec.store.recipient_certificates import RecipientCertificates

_KIND = "recipient-certificate"


@click.group()
def certificates() -> None:
    """Certificates of recipients, to which mails are encrypted, in the database of the daemon."""


@certificates.command("list")
@config_option
def list_certificates(*, config_file: Path) -> None:
    """List the certificates, newest first. PROFILE is empty for those that the mails of all Profiles use."""
    with daemon_database(config_file) as database:
        stored = run_to_completion(_all(RecipientCertificates(database)))
    echo_table(("ID", "ADDRESS", "TYPE", "KEY", "EXPIRES", "PROFILE", "HOLDER"), [_row(one) for one in stored])


@certificates.command("add")
@click.argument("address")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--profile", "profile_id", type=click.UUID, metavar="ID", help="Only for the mails of this Profile.")
@click.option("--other-address", is_flag=True, help="The certificate may name other mail addresses than ADDRESS.")
@config_option
def add(address: str, file: Path, *, profile_id: UUID | None, other_address: bool, config_file: Path) -> None:
    """Add the certificate in FILE, to which mails to ADDRESS are encrypted.

    FILE has one certificate, in text or binary form, and no private key. Of a chain, the one of the recipient is added.
    """
    if errors := address_errors(address):
        raise click.BadParameter(errors[0].message, param_hint="ADDRESS")
    certificate = _read(address, file, profile_id, other_address)
    with daemon_database(config_file) as database:
        _audit(database, "add", certificate.id)
        run_to_completion(RecipientCertificates(database).create(certificate))
    click.echo(certificate.id)


@certificates.command("delete")
@click.argument("certificate_id", type=click.UUID, metavar="ID")
@config_option
def delete(certificate_id: UUID, *, config_file: Path) -> None:
    """Delete a certificate: mails are not encrypted to it any more."""
    with daemon_database(config_file) as database:
        _audit(database, "delete", certificate_id)
        run_to_completion(RecipientCertificates(database).delete(certificate_id))


def _read(address: str, file: Path, profile_id: UUID | None, other_address: bool) -> RecipientCertificate:
    """Return the certificate in a file. Raises ClickException."""
    data, created_at = file.read_bytes()[: MAX_CERTIFICATE_LENGTH + 1], now()
    if len(data) > MAX_CERTIFICATE_LENGTH:
        raise click.ClickException(f"{file} has more than {MAX_CERTIFICATE_LENGTH} bytes; expected one certificate")
    try:
        facts = read_certificate(certificate_text(data), created_at)
        if not other_address:
            facts.require_address(address)
    except InvalidCertificateError as error:
        reason = str(error).replace("set otherAddressAllowed", "use --other-address")
        raise click.ClickException(f"the certificate in {file} {reason}") from None
    return RecipientCertificate(
        id=uuid4(),
        profile_id=profile_id,
        address=address,
        other_address_allowed=other_address,
        **asdict(facts),
        created_at=created_at,
        updated_at=created_at,
    )


def _row(certificate: RecipientCertificate) -> tuple[str, ...]:
    mark = " (expired)" if certificate.expired(now()) else ""
    return (
        str(certificate.id),
        certificate.address,
        certificate.type,
        certificate.algorithm,
        date_text(certificate.expires_at) + mark,
        str(certificate.profile_id or ""),
        certificate.subject,
    )


def _audit(database: BlockingDatabase, command: str, certificate_id: UUID) -> None:
    entry = audit_entry_for_command(f"voxrec certificates {command}", _KIND, certificate_id)
    run_to_completion(Audit(database).begin(entry))


async def _all(repository: RecipientCertificates) -> list[RecipientCertificate]:
    return [certificate async for page in repository.pages() for certificate in page]
