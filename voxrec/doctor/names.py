"""Checks of the resolution of names: the DNS, and this machine's own name."""

import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from ipaddress import ip_network
from typing import Final
from urllib.parse import urlsplit

from voxrec.config import Config
from voxrec.doctor.finding import Finding, failed, ok, warning
from voxrec.loopback import is_loopback_host

Resolve = Callable[[str], None]
"""Resolves a name. Raises OSError."""
_NO_ANSWER: Final = (socket.EAI_AGAIN, socket.EAI_FAIL)  # the others say that the name has no address


def _resolve(name: str) -> None:
    socket.getaddrinfo(name, None)


def check_names(config: Config, resolve: Resolve = _resolve) -> Iterator[Finding]:
    """Check that the DNS responds for the names in the settings, and that this machine's name has an address.

    A name without an address is no fault: a SIP domain may have other records only.
    """
    names = sorted({*_names(config)})
    for name in names:
        try:
            resolve(name)
        except socket.gaierror as error:
            if error.errno in _NO_ANSWER:
                yield failed(
                    "DNS",
                    f"{name} cannot be resolved: {error.strerror}; calls to names of hosts fail, and so may mails",
                    "check /etc/resolv.conf, and whether its name servers can be reached",
                )
                break
    else:
        if names:
            yield ok("DNS", f"responds for {', '.join(names)}")
    yield _check_host_name(socket.gethostname(), resolve)


def _check_host_name(name: str, resolve: Resolve) -> Finding:
    try:
        resolve(name)
    except OSError as error:
        return warning(
            "host name",
            f"{name} has no address ({error.strerror}): Asterisk resolves it for each call, and waits for the DNS",
            f"add a line 127.0.1.1 {name} to /etc/hosts",
        )
    return ok("host name", f"{name} has an address")


def _names(config: Config) -> Iterator[str]:
    """Yield the host names in the settings that need the DNS."""
    hosts = (
        *config.calls.allowed_hosts,
        *config.calls.trusted_hosts,
        config.mail.host,
        *(urlsplit(url).hostname or "" for url in (config.asterisk.url, config.s3.endpoint, config.oidc.issuer)),
    )
    return (host for host in hosts if host and not host.startswith("*") and not _is_address(host))


def _is_address(host: str) -> bool:
    with suppress(ValueError):
        ip_network(host, strict=False)
        return True
    return is_loopback_host(host)
