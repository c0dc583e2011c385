"""Which settings a running daemon can change, and what differs between two versions of the settings."""

from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec
from twisted.logger import Logger

from voxrec.config import Config
from voxrec.errors import ConfigError

RELOADABLE: Final = frozenset(
    {
        "asterisk.recordings_floor",
        "calls.allowed_hosts",
        "calls.announcement",
        "calls.beep",
        "calls.grace",
        "calls.jitter_buffer",
        "calls.log_numbers",
        "calls.max_call",
        "calls.max_calls",
        "calls.max_passages",
        "calls.max_redirects",
        "calls.on_stop",
        "calls.pause_sound",
        "calls.resume_sound",
        "calls.ring_timeout",
        "calls.setup_timeout",
        "calls.trusted_hosts",
        "listening.address",
        "listening.during_pause",
        "listening.enabled",
        "listening.max_listeners",
        "listening.max_listeners_per_call",
        "listening.notice",
        "log.format",
        "log.level",
        "mail.attach_limit",
        "mail.ca_file",
        "mail.copy_format",
        "mail.encryption",
        "mail.helo_domain",
        "mail.hide_subject",
        "mail.host",
        "mail.language",
        "mail.password",
        "mail.port",
        "mail.sender",
        "mail.signing_certificate",
        "mail.signing_key",
        "mail.templates",
        "mail.time_zone",
        "mail.timeout",
        "mail.tls",
        "mail.unconfirmed_attempts",
        "mail.unconfirmed_retry",
        "mail.user",
        "rest.access_log",
        "rest.admin_token",
        "rest.body_timeout",
        "rest.connections",
        "rest.connections_per_address",
        "rest.cors_origins",
        "rest.head_timeout",
        "rest.proxy_header",
        "rest.requests_per_token",
        "rest.trusted_proxies",
        "rest.upload_rate",
        "webhooks.allowed_networks",
        "webhooks.ca_file",
        "webhooks.timeout",
    }
)
"""The settings that take effect without a restart."""


class Reloader:
    """Reads the settings again, and applies what can change; the log names what cannot.

    ``load`` reads the settings and raises ConfigError; ``apply`` is called with the settings that are valid from now
    on.
    """

    _log = Logger()

    def __init__(self, running: Config, load: Callable[[], Config], apply: Callable[[Config], None]) -> None:
        self._running = running
        self._load = load
        self._apply = apply

    def reload(self) -> None:
        """Reload the settings. If they are invalid, every error is logged, and the previous ones stay valid."""
        try:
            new = self._load()
        except ConfigError as error:
            self._log.error("the settings were not reloaded; the previous ones stay valid: {error}", error=error)
            return
        changed = changed_settings(self._running, new)
        applied = [name for name in changed if name in RELOADABLE]
        self._running = merge_reloadable(self._running, new)
        self._apply(self._running)
        self._log.info("the settings were reloaded; changed: {names}", names=", ".join(applied) or "none")
        if pending := [name for name in changed if name not in RELOADABLE]:
            self._log.warn("restart voxrec to apply the changed settings {names}", names=", ".join(pending))


def changed_settings(running: Config, new: Config) -> list[str]:
    """Return the names of the settings whose values differ.

    The name of a file that contains a secret does not count, only the secret.
    """
    before, after = dict(_values(running)), dict(_values(new))
    return [name for name, value in after.items() if before[name] != value]


def merge_reloadable(running: Config, new: Config) -> Config:
    """Return ``running`` with the values of ``new`` for the settings in `RELOADABLE`."""
    reloadable = {name: value for name, value in _values(new) if name in RELOADABLE}
    sections: dict[str, Any] = {}
    for section in Config.__struct_fields__:
        values = {
            name.partition(".")[2]: value for name, value in reloadable.items() if name.partition(".")[0] == section
        }
        if values:
            sections[section] = msgspec.structs.replace(getattr(running, section), **values)
    return msgspec.structs.replace(running, **sections)


def _values(config: Config) -> Iterator[tuple[str, object]]:
    """Yield the dotted name and the value of each setting."""
    for name in config.__struct_fields__:
        section = getattr(config, name)
        if not isinstance(section, msgspec.Struct):
            yield name, section
            continue
        for field in section.__struct_fields__:
            if field.removesuffix("_file") == field or field.removesuffix("_file") not in section.__struct_fields__:
                yield f"{name}.{field}", getattr(section, field)
