"""The settings: YAML to typed sections.

Every key is optional, and nothing else is taken: an unknown key, a wrong type or a value out of range stops the start
with an error that names the key's path, the value and what is allowed. Meanings stand in etc/voxrec.yaml.
"""

import ipaddress
import os
import re
from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

import msgspec
import OpenSSL.crypto
import OpenSSL.SSL
import psycopg2.extensions
import yaml
from msgspec import Meta, Struct
from twisted.internet.endpoints import serverFromString

from voxrec.conversion import fit
from voxrec.errors import ConfigError, FieldError

Duration = Annotated[float, Meta(gt=0, le=86400)]
Port = Annotated[int, Meta(ge=1, le=65535)]
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
T = TypeVar("T", bound=Struct)


class Secret(str):
    """A string that shows itself to nobody by accident: its repr is a row of stars."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


class Asterisk(Struct, frozen=True, kw_only=True):
    """Where Asterisk is, and which of its directories it shares with voxrec."""

    url: str = "http://127.0.0.1:8088/ari"
    user: str = "voxrec"
    password: Secret = Secret("")
    password_file: str = ""
    app: Name = "voxrec"
    endpoint: Name = "trunk"
    recordings: str = "/var/spool/asterisk/recording"
    recordings_floor: Annotated[int, Meta(ge=0)] = 268_435_456
    sounds: str = "/var/lib/voxrec/sounds"
    sounds_in_asterisk: str = "/var/lib/voxrec/sounds"
    request_timeout: Duration = 10.0
    ping_interval: Duration = 10.0
    ping_timeout: Duration = 5.0
    event_queue: Annotated[int, Meta(ge=100, le=1_000_000)] = 10_000


class Database(Struct, frozen=True, kw_only=True):
    """Which PostgreSQL. Without a dsn voxrec runs one of its own in its data directory."""

    dsn: Secret = Secret("")
    dsn_file: str = ""
    pool_size: Annotated[int, Meta(ge=2, le=100)] = 8
    connect_timeout: Duration = 10.0
    statement_timeout: Duration = 30.0


class Rest(Struct, frozen=True, kw_only=True):
    """Where REST listens, and what it takes."""

    listen: str = "tcp:8080:interface=127.0.0.1"
    public_url: str = "http://127.0.0.1:8080"
    admin_token: Secret = Secret("")
    admin_token_file: str = ""
    body_limit: Annotated[int, Meta(ge=1024, le=104_857_600)] = 1_048_576
    audio_limit: Annotated[int, Meta(ge=1024, le=1_099_511_627_776)] = 536_870_912
    connections: Annotated[int, Meta(ge=10, le=100_000)] = 1000
    cors_origins: tuple[Annotated[str, Meta(pattern=r"^(\*|https?://[^/\s]+)$")], ...] = ()
    metrics: Literal["open", "token"] = "token"
    access_log: bool = False
    event_days: Annotated[int, Meta(ge=1, le=3650)] = 7


class Calls(Struct, frozen=True, kw_only=True):
    """How calls are placed and when they end."""

    ring_timeout: Duration = 60.0
    setup_timeout: Duration = 10.0
    max_call: Duration = 86400.0
    max_calls: Annotated[int, Meta(ge=0, le=100_000)] = 0
    on_stop: Literal["keep", "end"] = "keep"
    grace: Annotated[float, Meta(ge=0, le=86400)] = 30.0
    allowed_hosts: tuple[Annotated[str, Meta(min_length=1, max_length=253)], ...] = ()
    announcement: str = ""
    beep: Annotated[str, Meta(pattern=r"^(sound|tone|recording):[!-~]+$")] = "sound:beep"


class Archive(Struct, frozen=True, kw_only=True):
    """Where finished recordings are kept."""

    directory: str = ""


class Mail(Struct, frozen=True, kw_only=True):
    """How mail leaves."""

    host: str = "127.0.0.1"
    port: Port = 25
    tls: Literal["none", "starttls", "implicit"] = "none"
    ca_file: str = ""
    user: str = ""
    password: Secret = Secret("")
    password_file: str = ""
    sender: Annotated[str, Meta(pattern=r"^[^\s<>@]+@[^\s<>@]+$")] = "voxrec@localhost"
    helo_domain: Annotated[str, Meta(pattern=r"^[A-Za-z0-9.\[\]:-]+$")] = "localhost"
    timeout: Duration = 60.0
    attach_limit: Annotated[int, Meta(ge=0, le=1_073_741_824)] = 20_971_520


class Queue(Struct, frozen=True, kw_only=True):
    """The worker of the durable queue."""

    concurrency: Annotated[int, Meta(ge=1, le=64)] = 2
    attempts: Annotated[int, Meta(ge=1, le=1000)] = 40
    lease: Duration = 600.0
    retry_first: Duration = 5.0
    retry_limit: Duration = 7200.0


class Config(Struct, frozen=True, kw_only=True):
    """All settings."""

    data_directory: str = "/var/lib/voxrec"
    asterisk: Asterisk = Asterisk()
    database: Database = Database()
    rest: Rest = Rest()
    calls: Calls = Calls()
    archive: Archive = Archive()
    mail: Mail = Mail()
    queue: Queue = Queue()

    @property
    def archive_directory(self) -> Path:
        """Where finished recordings are kept; below the data directory where nothing else is said."""
        return Path(self.archive.directory or Path(self.data_directory, "archive"))


class _StrictLoader(yaml.SafeLoader):
    """YAML in which a key that stands twice is an error: the second would silently win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def load(path: Path) -> Config:
    """Read the settings from a file; raise `ConfigError` naming everything that is wrong with it."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    return parse(text, str(path))


def parse(text: str, source: str = "configuration") -> Config:
    """Read the settings from YAML text; ``source`` names it in errors."""
    try:
        given = yaml.load(text, _StrictLoader)  # noqa: S506 - a SafeLoader, made stricter
    except yaml.YAMLError as error:
        raise ConfigError(f"{source}: is not YAML: {error}") from error
    config, field_errors = _section(Config, {} if given is None else given, "")
    if not field_errors:
        field_errors = [*_unusable(config)]
    if field_errors:
        raise ConfigError(
            f"{source}: {len(field_errors)} {'setting' if len(field_errors) == 1 else 'settings'} cannot be used",
            field_errors,
        )
    return config


def _section(kind: type[T], given: object, path: str) -> tuple[T, list[FieldError]]:
    if not isinstance(given, Mapping):
        return kind(), [
            FieldError(path.rstrip(".") or "(top)", f"{given!r} does not fit: settings by name are expected")
        ]
    fields = {field.name: field.type for field in msgspec.structs.fields(kind)}
    sections = {name: type_ for name, type_ in fields.items() if isinstance(type_, type) and issubclass(type_, Struct)}
    plain = {str(key): value for key, value in given.items() if key not in sections}
    secrets = frozenset(name for name, type_ in fields.items() if type_ is Secret)
    values, field_errors = fit(kind, plain, path=path, secret=secrets, dec_hook=_decode)
    for name, section in sections.items():
        if given.get(name) is not None:
            values[name], found = _section(section, given[name], f"{path}{name}.")
            field_errors += found
    for name in secrets:
        field_errors += _read_secret(values, name, path)
    return kind(**values), field_errors


def _decode(kind: type, value: object) -> object:
    if kind is Secret and isinstance(value, str):
        return Secret(value)
    raise msgspec.ValidationError(f"Expected str, got {type(value).__name__}")


def _read_secret(values: dict[str, Any], name: str, path: str) -> list[FieldError]:
    """Fill a secret from its ``_file``; ``${CREDENTIALS_DIRECTORY}`` in it is what systemd's LoadCredential= gives."""
    file = values.get(f"{name}_file")
    if not file:
        return []
    where = f"{path}{name}_file"
    if values.get(name):
        return [FieldError(where, f"stands beside {path}{name}; one of the two is allowed")]
    try:
        values[name] = Secret(Path(os.path.expandvars(file)).read_text(encoding="utf-8").rstrip("\r\n"))
    except (OSError, UnicodeDecodeError) as error:
        return [FieldError(where, f"{file!r} cannot be read: {error}")]
    if not values[name]:
        return [FieldError(where, f"{file!r} is empty; a secret in its first line is expected")]
    return []


def _unusable(config: Config) -> Iterator[FieldError]:
    """What the types alone cannot say."""
    for where, url in (("asterisk.url", config.asterisk.url), ("rest.public_url", config.rest.public_url)):
        if not _is_http(url):
            yield FieldError(where, f"{url!r} does not fit: a URL such as http://host:port/path is expected")
    if config.database.dsn:
        try:
            psycopg2.extensions.parse_dsn(config.database.dsn)
        except psycopg2.ProgrammingError as error:
            yield FieldError("database.dsn", f"is not a PostgreSQL connection string: {str(error).strip()}")
    try:
        serverFromString(None, config.rest.listen)
    except (ValueError, KeyError, TypeError, OSError, IndexError, OpenSSL.crypto.Error, OpenSSL.SSL.Error) as error:
        yield FieldError(
            "rest.listen",
            f"{config.rest.listen!r} does not fit: a Twisted server endpoint such as tcp:8080:interface=127.0.0.1 "
            f"is expected ({type(error).__name__}: {error})",
        )
    for host in config.calls.allowed_hosts:
        if not _is_allowed_host_entry(host):
            yield FieldError(
                "calls.allowed_hosts",
                f"{host!r} does not fit: a host name, *.domain, an address or a network is expected",
            )
    if config.mail.password and not config.mail.user:
        yield FieldError("mail.user", "'' does not fit: a password is given, so a user is expected")


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _is_allowed_host_entry(entry: str) -> bool:
    try:
        ipaddress.ip_network(entry, strict=False)
    except ValueError:
        # what is all digits and dots was meant as an address, and is none
        return re.fullmatch(
            r"(\*\.)?[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?\.?", entry
        ) is not None and not re.fullmatch(r"[0-9./]+", entry)
    return True
