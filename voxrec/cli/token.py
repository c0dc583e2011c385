"""``voxrec token``: who may use REST."""

from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import click

from voxrec.cli.context import by_command, config_option, daemon_database, now
from voxrec.conversion import convert_fields
from voxrec.errors import InvalidInput
from voxrec.model import Role, Token
from voxrec.postgres.blocking_database import run_to_completion
from voxrec.store.audit import Audit
from voxrec.store.tokens import ALL_TOKENS, Tokens, generate_secret


def _moment(text: str) -> datetime:
    """A date, which begins at midnight UTC, or a date and time with its offset."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is not None and len(text) == len("2027-01-31"):
        return found.replace(tzinfo=UTC)
    if found is None or found.tzinfo is None:
        raise click.BadParameter(f"{text!r} is no date such as 2027-01-31, nor 2027-01-31T18:00:00+01:00")
    return found.astimezone(UTC)


@click.group()
def token() -> None:
    """Tokens for REST, in the database of the daemon."""


@token.command()
@click.option("--name", required=True, help="Who will use it; stands in the audit.")
@click.option("--role", required=True, type=click.Choice([role.value for role in Role]), help="What it may do.")
@click.option("--profile", "profiles", multiple=True, type=click.UUID, metavar="ID", help="Limit it to this Profile.")
@click.option("--expires", type=_moment, metavar="DATE", help="When it ends; a date is its beginning, UTC.  [never]")
@config_option
def create(name: str, role: str, profiles: tuple[UUID, ...], expires: datetime | None, file: Path) -> None:
    """Make a token and print its secret, which is shown this once only."""
    secret = generate_secret()
    given = {"name": name, "role": role, "profileIds": profiles or None, "expiresAt": expires}
    with daemon_database(file) as database:
        made = _checked({"id": uuid4(), "createdAt": now(), **given})
        run_to_completion(Audit(database).begin(by_command("voxrec token create", "token", made.id)))
        run_to_completion(Tokens(database).create(made, secret))
    click.echo(f"token {made.id}; its secret, which cannot be shown again:", err=True)
    click.echo(secret)


@token.command("list")
@config_option
def list_(file: Path) -> None:
    """Show all tokens, newest first, also those that are no longer good. None shows its secret."""
    with daemon_database(file) as database:
        tokens = run_to_completion(_all(Tokens(database)))
    rows = [("ID", "STATE", "ROLE", "PROFILES", "EXPIRES", "NAME"), *(_row(one, now()) for one in tokens)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@token.command()
@click.argument("token_id", type=click.UUID, metavar="ID")
@config_option
def revoke(token_id: UUID, file: Path) -> None:
    """End a token for good: within a second on every daemon."""
    with daemon_database(file) as database:
        run_to_completion(Audit(database).begin(by_command("voxrec token revoke", "token", token_id)))
        revoked = run_to_completion(Tokens(database).revoke(token_id))
    click.echo(f"token {token_id} ({revoked.name}) is revoked")


def _checked(given: dict[str, object]) -> Token:
    """The Token, held to the same rules as one that REST makes."""
    values, field_errors = convert_fields(Token, given)
    if not field_errors:
        made = Token(**values)
        field_errors = made.field_errors()
    if field_errors:
        raise InvalidInput("This makes no token:", field_errors)
    return made


async def _all(tokens: Tokens) -> list[Token]:
    return [one async for page in tokens.pages(ALL_TOKENS) for one in page]


def _row(one: Token, at: datetime) -> tuple[str, ...]:
    if one.revoked_at is not None:
        state = "revoked"
    elif one.expires_at is not None and one.expires_at <= at:
        state = "expired"
    else:
        state = "good"
    limit = "all" if one.profile_ids is None else ",".join(map(str, one.profile_ids))
    expires = "never" if one.expires_at is None else f"{one.expires_at:%Y-%m-%d %H:%M} UTC"
    return (str(one.id), state, one.role.value, limit, expires, one.name)
