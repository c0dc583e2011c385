"""Reads the settings file (YAML), and environment variables that override it, into typed sections.

Every setting is optional; etc/voxrec.yaml documents them. An unknown setting, a value of the wrong type or outside its
range is a `ConfigError` that names the setting, the value and what is allowed.
"""

import os
import socket
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import msgspec
import yaml
from msgspec import Struct
from twisted.internet.endpoints import serverFromString

from voxrec.certificate import INVALID_CERTIFICATE
from voxrec.clock import is_time_zone
from voxrec.config_oidc import oidc_errors
from voxrec.config_sections import (
    S3 as S3,
)
from voxrec.config_sections import (
    Archive as Archive,
)
from voxrec.config_sections import (
    Asterisk as Asterisk,
)
from voxrec.config_sections import (
    Bounces as Bounces,
)
from voxrec.config_sections import (
    Calls as Calls,
)
from voxrec.config_sections import (
    Database as Database,
)
from voxrec.config_sections import (
    Exports as Exports,
)
from voxrec.config_sections import (
    Links as Links,
)
from voxrec.config_sections import (
    Listening as Listening,
)
from voxrec.config_sections import (
    Log as Log,
)
from voxrec.config_sections import (
    Mail as Mail,
)
from voxrec.config_sections import (
    Node as Node,
)
from voxrec.config_sections import (
    OpenIdConnect as OpenIdConnect,
)
from voxrec.config_sections import (
    Queue as Queue,
)
from voxrec.config_sections import (
    Rest as Rest,
)
from voxrec.config_sections import (
    Secret as Secret,
)
from voxrec.config_sections import (
    Webhooks as Webhooks,
)
from voxrec.config_values import (
    NODE_NAME_RULE,
    bounce_errors,
    customer_keys,
    dsn_problem,
    is_host_entry,
    is_ip_address,
    is_node_name,
    is_url,
    network_errors,
    token_weakness,
)
from voxrec.conversion import convert_fields
from voxrec.environment import override_settings
from voxrec.errors import ConfigError, FieldError
from voxrec.loopback import is_loopback_host
from voxrec.mailaddress import MailAddressError, check_mail_address
from voxrec.strict_yaml import load_yaml

T = TypeVar("T", bound=Struct)
_NO_VARIABLES: Final[Mapping[str, str]] = MappingProxyType({})

UNIT_CREDENTIALS = Path("/run/credentials/voxrec.service")
"""Where systemd keeps the credentials of the running unit (systemd.exec(5), LoadCredential=)."""

_CREDENTIALS_VARIABLE = "${CREDENTIALS_DIRECTORY}"


class Config(Struct, frozen=True, kw_only=True):
    """All settings."""

    data_directory: str = "/var/lib/voxrec"
    asterisk: Asterisk = Asterisk()
    database: Database = Database()
    rest: Rest = Rest()
    oidc: OpenIdConnect = OpenIdConnect()
    calls: Calls = Calls()
    archive: Archive = Archive()
    s3: S3 = S3()
    mail: Mail = Mail()
    bounces: Bounces = Bounces()
    queue: Queue = Queue()
    node: Node = Node()
    webhooks: Webhooks = Webhooks()
    links: Links = Links()
    exports: Exports = Exports()
    listening: Listening = Listening()
    log: Log = Log()

    @property
    def node_name(self) -> str:
        """The name of this node, by default the host name."""
        return self.node.name or socket.gethostname()

    @property
    def archive_directory(self) -> Path:
        """The directory of finished Recordings, by default ``archive`` in the data directory."""
        return Path(self.archive.directory or Path(self.data_directory, "archive"))


def load(path: Path, sections: Collection[str] | None = None, unchecked: list[str] | None = None) -> Config:
    """Read the settings from a file and from the environment; see `parse`.

    Raises `ConfigError`, which names every invalid setting.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot read the file: {error}") from error
    return parse(text, str(path), sections, unchecked, os.environ)


def parse(
    text: str,
    source: str = "configuration",
    sections: Collection[str] | None = None,
    unchecked: list[str] | None = None,
    variables: Mapping[str, str] = _NO_VARIABLES,
) -> Config:
    """Read the settings from YAML text. ``source`` is the name of the text in errors.

    With ``sections``, only these and the settings outside of sections are read and checked, and the others have their
    defaults: a command must not fail because of a secret that it does not need and may not read. If ``unchecked`` is a
    list, settings that only the daemon's unit can provide (credentials and sockets of systemd) are added to it instead
    of being errors. ``variables`` are environment variables, which have precedence over the text (see
    `voxrec.environment`). Raises `ConfigError`, which names every invalid setting.
    """
    try:
        document = load_yaml(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{source}: invalid YAML: {error}") from error
    if document is None:
        document = {}
    unknown_variables: list[FieldError] = []
    if isinstance(document, Mapping):
        document, unknown_variables = override_settings(document, variables, Config)
    if sections is not None and isinstance(document, Mapping):
        unneeded = {*Config.__struct_fields__} - {*sections, "data_directory"}
        document = {name: value for name, value in document.items() if name not in unneeded}
    config, field_errors = _convert_section(Config, document, "", unchecked)
    field_errors += unknown_variables
    if not field_errors:
        field_errors = [*_semantic_errors(config, unchecked)]
    if field_errors:
        settings = "1 invalid setting" if len(field_errors) == 1 else f"{len(field_errors)} invalid settings"
        raise ConfigError(f"{source}: {settings}", field_errors)
    return config


def _convert_section(
    section_type: type[T], section: object, path: str, unchecked: list[str] | None
) -> tuple[T, list[FieldError]]:
    """Convert a section and its subsections. ``path`` is its prefix in errors, such as ``mail.``."""
    if not isinstance(section, Mapping):
        name = path.rstrip(".") or "(top level)"
        return section_type(), [FieldError(name, f"invalid value {section!r}; expected a mapping of settings")]
    types = {field.name: field.type for field in msgspec.structs.fields(section_type)}
    subsections = {
        name: type_ for name, type_ in types.items() if isinstance(type_, type) and issubclass(type_, Struct)
    }
    settings = {str(key): value for key, value in section.items() if key not in subsections}
    secrets = frozenset(name for name, type_ in types.items() if type_ is Secret)
    values, field_errors = convert_fields(section_type, settings, path=path, secret=secrets, dec_hook=_decode_secret)
    for name, subsection_type in subsections.items():
        if section.get(name) is not None:
            values[name], subsection_errors = _convert_section(
                subsection_type, section[name], f"{path}{name}.", unchecked
            )
            field_errors += subsection_errors
    for name in secrets:
        field_errors += _read_secret_file(values, name, path, unchecked)
    return section_type(**values), field_errors


def _decode_secret(type_: type, value: object) -> object:
    if type_ is Secret and isinstance(value, str):
        return Secret(value)
    raise msgspec.ValidationError(f"Expected str, got {type(value).__name__}")


def _read_secret_file(values: dict[str, Any], name: str, path: str, unchecked: list[str] | None) -> list[FieldError]:
    """Set the secret ``name`` from the file that ``<name>_file`` names, and return the errors.

    Environment variables in the file name are expanded. ``${CREDENTIALS_DIRECTORY}`` is the directory of systemd's
    LoadCredential=; outside of the unit, it is that of the running daemon, which root can read.
    """
    file = values.get(f"{name}_file")
    if not file:
        return []
    setting = f"{path}{name}_file"
    if values.get(name):
        return [FieldError(setting, f"conflicts with {path}{name}; set only one of them")]
    is_credential = _CREDENTIALS_VARIABLE in file and "CREDENTIALS_DIRECTORY" not in os.environ
    expanded = os.path.expandvars(file.replace(_CREDENTIALS_VARIABLE, str(UNIT_CREDENTIALS)) if is_credential else file)
    try:
        values[name] = Secret(Path(expanded).read_text(encoding="utf-8").rstrip("\r\n"))
    except (OSError, UnicodeDecodeError) as error:
        if is_credential and unchecked is not None:
            unchecked.append(f"{setting}: {file} exists only in the unit")
            return []
        advice = "; run this command as root while the unit voxrec.service runs" if is_credential else ""
        return [FieldError(setting, f"cannot read {expanded!r}: {error}{advice}")]
    if not values[name]:
        return [FieldError(setting, f"{file!r} is empty; expected the secret in its first line")]
    return []


def _semantic_errors(config: Config, unchecked: list[str] | None) -> Iterator[FieldError]:
    """Check what the types cannot express."""
    for setting, url in (("asterisk.url", config.asterisk.url), ("rest.public_url", config.rest.public_url)):
        if not is_url(url, ("http", "https")):
            yield FieldError(setting, f"invalid URL {url!r}; expected http://host:port/path or https://host:port/path")
    if not is_url(config.asterisk.ami_url, ("tcp", "tls")):
        url = config.asterisk.ami_url
        yield FieldError("asterisk.ami_url", f"invalid URL {url!r}; expected tcp://host:port or tls://host:port")
    if problem := token_weakness(config.rest.admin_token):
        yield FieldError("rest.admin_token", problem)
    if config.database.dsn and (problem := dsn_problem(config.database.dsn)):
        yield FieldError("database.dsn", problem)
    yield from _listen_errors(config.rest.listen, unchecked)
    yield from oidc_errors(config.oidc, config.rest.passwords)
    for setting, hosts in (
        ("calls.allowed_hosts", config.calls.allowed_hosts),
        ("calls.trusted_hosts", config.calls.trusted_hosts),
    ):
        for entry in hosts:
            if not is_host_entry(entry):
                yield FieldError(
                    setting, f"invalid entry {entry!r}; expected a host name, *.domain, an IP address or a network"
                )
    if config.links.days > config.links.max_days:
        problem = f"invalid value {config.links.days}; expected at most {config.links.max_days}, links.max_days"
        yield FieldError("links.days", problem)
    yield from network_errors("rest.trusted_proxies", config.rest.trusted_proxies, also=("unix",))
    yield from network_errors("webhooks.allowed_networks", config.webhooks.allowed_networks)
    if not is_ip_address(config.listening.address):
        problem = f"invalid value {config.listening.address!r}; expected an IPv4 or IPv6 address"
        yield FieldError("listening.address", problem)
    yield from _mail_errors(config.mail)
    yield from bounce_errors(config.bounces.address, config.bounces.listen)
    yield from _s3_errors(config.s3)
    if not is_node_name(config.node_name):
        origin = "invalid value" if config.node.name else "required, because it cannot be the host name"
        yield FieldError("node.name", f"{origin} {config.node_name!r}; expected {NODE_NAME_RULE}")


def _listen_errors(listen: str, unchecked: list[str] | None) -> Iterator[FieldError]:
    if listen.startswith("systemd:") and unchecked is not None and "LISTEN_FDS" not in os.environ:
        unchecked.append("rest.listen: the socket of systemd exists only in the unit")
        return
    try:
        serverFromString(None, listen)
    except PermissionError as error:
        if unchecked is None:
            yield FieldError("rest.listen", f"cannot read {error.filename!r}: {error.strerror}")
        else:
            unchecked.append(f"rest.listen: this user may not read {error.filename}")
    except (*INVALID_CERTIFICATE, KeyError, TypeError, IndexError) as error:
        yield FieldError(
            "rest.listen",
            f"invalid value {listen!r}; expected a Twisted server endpoint such as "
            f"tcp:8080:interface=127.0.0.1 ({type(error).__name__}: {error})",
        )


def _mail_errors(mail: Mail) -> Iterator[FieldError]:
    try:
        check_mail_address(mail.sender)
    except MailAddressError as error:
        yield FieldError("mail.sender", f"invalid email address {mail.sender!r}: it {error}")
    if not is_time_zone(mail.time_zone):
        yield FieldError(
            "mail.time_zone", f"unknown time zone {mail.time_zone!r}; expected a name such as UTC or Europe/Berlin"
        )
    if bool(mail.signing_certificate) != bool(mail.signing_key):
        missing = "signing_key" if mail.signing_certificate else "signing_certificate"
        yield FieldError(f"mail.{missing}", "required, because mails are signed by a certificate and its private key")
    if mail.password and not mail.user:
        yield FieldError("mail.user", "required if mail.password is set")
    if mail.user and not mail.password and not mail.password_file:
        yield FieldError("mail.password", "required if mail.user is set; or set mail.password_file")
    if (mail.user or mail.password) and mail.tls == "none" and not is_loopback_host(mail.host):
        yield FieldError(
            "mail.tls",
            f"invalid value 'none': the password would be sent unencrypted to {mail.host}; expected starttls or "
            "implicit, no mail.user, or a mail.host on this machine (localhost, 127.0.0.1, ::1)",
        )


def _s3_errors(s3: S3) -> Iterator[FieldError]:
    if s3.endpoint and not is_url(s3.endpoint, ("http", "https")):
        yield FieldError("s3.endpoint", f"invalid URL {s3.endpoint!r}; expected https://host:port or http://host:port")
    if s3.access_key and not s3.secret_key and not s3.secret_key_file:
        yield FieldError("s3.secret_key", "required if s3.access_key is set; or set s3.secret_key_file")
    if s3.secret_key and not s3.access_key:
        yield FieldError("s3.access_key", "required if s3.secret_key is set")
    if s3.endpoint.startswith("http:") and not is_loopback_host(urlsplit(s3.endpoint).hostname or ""):
        yield FieldError(
            "s3.endpoint",
            f"invalid value {s3.endpoint!r}: the audio would be sent unencrypted; expected https, or a host on this "
            "machine (localhost, 127.0.0.1, ::1)",
        )
    if s3.kms_key and s3.encryption != "kms":
        yield FieldError("s3.kms_key", f"requires s3.encryption kms, which is {s3.encryption}")
    if s3.encryption == "customer" and not s3.customer_keys and not s3.customer_keys_file:
        yield FieldError("s3.customer_keys", "required if s3.encryption is customer; or set s3.customer_keys_file")
    if s3.encryption == "customer" and s3.download == "redirect":
        yield FieldError("s3.download", "redirect is impossible with s3.encryption customer; expected proxy")
    try:
        customer_keys(s3.customer_keys)
    except ValueError as error:
        yield FieldError("s3.customer_keys", str(error))
    if s3.concurrency_per_bucket > s3.concurrency:
        yield FieldError("s3.concurrency_per_bucket", f"is greater than s3.concurrency, which is {s3.concurrency}")
    if s3.retry_first > s3.retry_limit:
        yield FieldError("s3.retry_first", f"is greater than s3.retry_limit, which is {s3.retry_limit:g}")
