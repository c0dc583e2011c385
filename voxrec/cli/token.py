"""``voxrec token``: creates, lists and revokes the access tokens of the REST API."""

from datetime import datetime
from pathlib import Path
from uuid import UUID, uuid4

import click

from voxrec.cli.context import (
    audit_entry_for_command,
    config_option,
    daemon_database,
    listen_live_option,
    now,
    parse_time,
)
from voxrec.cli.table import echo_table
from voxrec.conversion import convert_fields
from voxrec.errors import InvalidInput
from voxrec.model import Role, Token
from voxrec.postgres.blocking_database import run_to_completion
from voxrec.store.audit import Audit
from voxrec.store.tokens import ALL_TOKENS, Tokens, generate_secret


@click.group()
def token() -> None:
    """Access tokens of the REST API, in the database of the daemon."""


@token.command()
@click.option("--name", required=True, help="Name of the client that uses it, for the audit log.")
@click.option("--role", required=True, type=click.Choice([role.value for role in Role]), help="Its permissions.")
@click.option(
    "--profile",
    "profiles",
    multiple=True,
    type=click.UUID,
    metavar="ID",
    help="Restrict it to this Profile; repeatable.",
)
@click.option("--expires", type=parse_time, metavar="DATE", help="When it expires; a date means midnight UTC.  [never]")
@listen_live_option
@config_option
def create(
    name: str, role: str, profiles: tuple[UUID, ...], expires: datetime | None, listen_live: bool, config_file: Path
) -> None:
    """Create a token, and print its secret. The secret cannot be displayed again."""
    secret = generate_secret()
    fields = {
        "name": name,
        "role": role,
        "profileIds": profiles or None,
        "expiresAt": expires,
        "listenLive": listen_live,
    }
    with daemon_database(config_file) as database:
        new = _validated_token({"id": uuid4(), "createdAt": now(), **fields})
        run_to_completion(Audit(database).begin(audit_entry_for_command("voxrec token create", "token", new.id)))
        run_to_completion(Tokens(database).create(new, secret))
    click.echo(f"Created token {new.id}. Its secret, which cannot be displayed again:", err=True)
    click.echo(secret)


@token.command("list")
@config_option
def list_(config_file: Path) -> None:
    """List all tokens, newest first, including expired and revoked ones. Secrets are not displayed."""
    with daemon_database(config_file) as database:
        tokens = run_to_completion(_all_tokens(Tokens(database)))
    at = now()
    headings = ("ID", "STATE", "ROLE", "PROFILES", "EXPIRES", "NAME")
    echo_table(headings, (_row(token_, at) for token_ in tokens))


@token.command()
@click.argument("token_id", type=click.UUID, metavar="ID")
@config_option
def revoke(token_id: UUID, config_file: Path) -> None:
    """Revoke a token permanently. Every daemon rejects it within a second."""
    with daemon_database(config_file) as database:
        run_to_completion(Audit(database).begin(audit_entry_for_command("voxrec token revoke", "token", token_id)))
        revoked = run_to_completion(Tokens(database).revoke(token_id))
    click.echo(f"token {token_id} ({revoked.name}) is revoked")


def _validated_token(fields: dict[str, object]) -> Token:
    """Build a Token under the same rules as the REST API. Raises `InvalidInput` if a field is invalid."""
    values, field_errors = convert_fields(Token, fields)
    if not field_errors:
        new = Token(**values)
        field_errors = new.field_errors()
    if field_errors:
        raise InvalidInput("The token cannot be created:", field_errors)
    return new


async def _all_tokens(tokens: Tokens) -> list[Token]:
    return [token_ async for page in tokens.pages(ALL_TOKENS) for token_ in page]


def _row(token_: Token, at: datetime) -> tuple[str, ...]:
    if token_.revoked_at is not None:
        state = "revoked"
    elif token_.expires_at is not None and token_.expires_at <= at:
        state = "expired"
    else:
        state = "active"
    profiles = "all" if token_.profile_ids is None else ",".join(map(str, token_.profile_ids))
    expires = "never" if token_.expires_at is None else f"{token_.expires_at:%Y-%m-%d %H:%M} UTC"
    return (str(token_.id), state, token_.role.value, profiles, expires, token_.name)
