"""Checks of single values in the settings: URLs, networks and hosts."""

import ipaddress
import re
from collections.abc import Collection
from urllib.parse import urlsplit


def is_url(url: str, schemes: Collection[str]) -> bool:
    """Return whether ``url`` has one of the ``schemes``, a host, and, if it has a port, a valid one."""
    try:
        parts = urlsplit(url)
        return parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def is_network(entry: str) -> bool:
    """Return whether ``entry`` is an IP address or a network whose host bits are 0."""
    try:
        ipaddress.ip_network(entry)
    except ValueError:
        return False
    return True


def is_host_entry(entry: str) -> bool:
    """Return whether ``entry`` is a host name, ``*.domain``, an IP address or a network."""
    try:
        ipaddress.ip_network(entry, strict=False)
    except ValueError:
        # digits, dots and slashes only: an invalid IP address and not a host name
        return re.fullmatch(
            r"(\*\.)?[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?\.?", entry
        ) is not None and not re.fullmatch(r"[0-9./]+", entry)
    return True
