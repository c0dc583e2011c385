"""``voxrec user``: creates and lists users, sets their passwords, and removes second factors that were lost."""

from datetime import timedelta
from pathlib import Path
from typing import Final
from uuid import UUID, uuid4

import click
from msgspec import to_builtins

from voxrec.api.auth.passwords import hash_password
from voxrec.api.auth.users import UserWithPassword
from voxrec.cli.context import audit_entry_for_command, config_option, daemon_database, listen_live_option, now
from voxrec.cli.table import echo_table
from voxrec.conversion import convert_fields
from voxrec.errors import InvalidInput, NotFound
from voxrec.model import Role, User
from voxrec.model.user import password_errors
from voxrec.postgres.blocking_database import BlockingDatabase, run_to_completion
from voxrec.store.audit import Audit
from voxrec.store.second_factors import SecondFactors
from voxrec.store.sessions import Sessions
from voxrec.store.users import UserFilter, Users

_NEVER_IDLE: Final = timedelta(
    days=36500
)  # idle sessions are counted, too: the command does not read rest.session_idle_timeout

_password_option = click.option(
    "--password",
    prompt=True,
    hide_input=True,
    confirmation_prompt=True,
    help="Asked for if it is not given. Other users of the machine see it in the list of processes.",
)


@click.group()
def user() -> None:
    """Users, who sign in with a name and a password, in the database of the daemon."""


@user.command()
@click.argument("name")
@click.option("--role", required=True, type=click.Choice([role.value for role in Role]), help="The user's permissions.")
@click.option(
    "--profile", "profiles", multiple=True, type=click.UUID, metavar="ID", help="Restrict to this Profile; repeatable."
)
@listen_live_option
@_password_option
@config_option
def create(
    name: str, role: str, profiles: tuple[UUID, ...], listen_live: bool, password: str, config_file: Path
) -> None:
    """Create the user NAME."""
    at = now()
    fields = {"name": name, "role": role, "profileIds": profiles or None, "listenLive": listen_live}
    with daemon_database(config_file) as database:
        new = _validate({"id": uuid4(), "createdAt": at, "updatedAt": at, "password": password, **fields})
        run_to_completion(Audit(database).begin(audit_entry_for_command("voxrec user create", "user", new.id)))
        run_to_completion(Users(database).create(new.without_password(), hash_password(password)))
    click.echo(f"user {name} is created")


@user.command("list")
@config_option
def list_(config_file: Path) -> None:
    """List all users, newest first."""
    with daemon_database(config_file) as database:
        users = run_to_completion(_all_users(Users(database)))
    echo_table(("ID", "STATE", "ROLE", "PROFILES", "NAME"), map(_row, users))


@user.command()
@click.argument("name")
@_password_option
@config_option
def password(name: str, password: str, config_file: Path) -> None:
    """Set the password of the user NAME. All sessions of the user end."""
    with daemon_database(config_file) as database:
        found = _find(database, name)
        if not found.is_local:
            raise InvalidInput(f"{name} signs in at the identity provider {found.issuer}, and has no password here.")
        _validate({**to_builtins(found), "password": password})
        run_to_completion(Audit(database).begin(audit_entry_for_command("voxrec user password", "user", found.id)))
        run_to_completion(Users(database).set_password(found.id, hash_password(password)))
    click.echo(f"the password of user {name} is changed")


@user.command("reset-second-factor")
@click.argument("name")
@config_option
def reset_second_factor(name: str, config_file: Path) -> None:
    """Remove the second factor of the user NAME, who has lost it. All sessions of the user end."""
    with daemon_database(config_file) as database:
        found = _find(database, name)
        command = "voxrec user reset-second-factor"
        run_to_completion(Audit(database).begin(audit_entry_for_command(command, "second-factor", found.id)))
        run_to_completion(SecondFactors(database).remove(found.id))
    click.echo(f"the second factor of user {name} is removed")


@user.command("sign-out")
@click.argument("name", required=False)
@click.option("--all", "all_", is_flag=True, help="All users.")
@config_option
def sign_out(name: str | None, *, all_: bool, config_file: Path) -> None:
    """End all sessions of the user NAME, or of all users. Every daemon rejects them within a second."""
    if (name is not None) == all_:
        raise click.UsageError("Name a user, or use --all.")
    with daemon_database(config_file) as database:
        user_id = None if name is None else _find(database, name).id
        run_to_completion(Audit(database).begin(audit_entry_for_command("voxrec user sign-out", "session", user_id)))
        ended = run_to_completion(Sessions(database, _NEVER_IDLE).delete_all(user_id))
    click.echo(f"sessions that were ended: {ended}")


def _find(database: BlockingDatabase, name: str) -> User:
    users = run_to_completion(Users(database).page(UserFilter(name=name), 1))
    if not users:
        raise NotFound(f"There is no user {name}.")
    return users[0]


def _validate(fields: dict[str, object]) -> UserWithPassword:
    """Build a user under the same rules as the REST API. Raises `InvalidInput` if a field is invalid."""
    values, field_errors = convert_fields(UserWithPassword, fields, secret=frozenset({"password"}))
    if not field_errors:
        new = UserWithPassword(**values)
        field_errors = [*new.field_errors(), *password_errors("password", new.password, new.name)]
    if field_errors:
        raise InvalidInput("This is not accepted:", field_errors)
    return new


async def _all_users(users: Users) -> list[User]:
    return [user_ async for page in users.pages() for user_ in page]


def _row(user_: User) -> tuple[str, ...]:
    profiles = "all" if user_.profile_ids is None else ",".join(map(str, user_.profile_ids))
    return (str(user_.id), "enabled" if user_.enabled else "disabled", user_.role.value, profiles, user_.name)
