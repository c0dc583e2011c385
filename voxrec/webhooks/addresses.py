"""The addresses that webhooks may be sent to: public ones, and those that the settings allow.

Otherwise a client of the REST API could reach what only this host can: other services of the network, or the metadata
service of a cloud (server-side request forgery, OWASP A10:2021).
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")  # RFC 4291 section 2.4; all other IPv6 addresses are special
_NAT64: Final = IPv6Network("64:ff9b::/96")  # RFC 6052 section 2.1
# Special addresses (RFC 6890 and the registries of IANA) that ``is_global`` of Python 3.11 lets pass.
_SPECIAL: Final = (
    IPv4Network("192.0.0.0/24"),
    IPv4Network("192.88.99.0/24"),
    IPv6Network("2001::/23"),
    IPv6Network("3fff::/20"),
)


class AddressPolicy:
    """Decides whether a connection to an address is permitted. ``allowed`` are networks in addition to public ones."""

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        self._allowed = tuple(ip_network(network) for network in allowed)

    def permits(self, address: str) -> bool:
        """Return whether a connection to an IP address is permitted. False for anything that is not an IP address."""
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        return self._permits(parsed)

    def _permits(self, address: Address) -> bool:
        if isinstance(address, IPv6Address) and address.scope_id is not None:  # an interface of this host
            return False
        if any(address in network for network in self._allowed):
            return True
        embedded = _embedded_ipv4(address)
        return is_public(address) if embedded is None else self._permits(embedded)


def is_public(address: Address) -> bool:
    """Return whether an address is one of a host in the Internet."""
    if not address.is_global or address.is_multicast or any(address in network for network in _SPECIAL):
        return False
    return isinstance(address, IPv4Address) or address in _GLOBAL_UNICAST


def _embedded_ipv4(address: Address) -> IPv4Address | None:
    """Return the IPv4 address that packets to an IPv6 address reach: IPv4-mapped, NAT64, 6to4."""
    if isinstance(address, IPv4Address):
        return None
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour
