"""The address of a client behind reverse proxies, from X-Forwarded-For or Forwarded (RFC 7239).

Anybody can send these headers. They are evaluated from the right, and only as far as each address is that of a trusted
proxy, which appended the entry to its left. Only one of them is evaluated: a proxy passes on the other one as it
received it.
"""

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal, Self, TypeAlias

from voxrec.web.headers import UNIX

_MAX_HOPS: Final = 20
_ELEMENT: Final = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*")+')
_PAIR: Final = re.compile(r'\s*([!#$%&\'*+.^_`|~0-9A-Za-z-]+)=("(?:[^"\\]|\\.)*"|[^;,\s"]*)\s*(?:;|$)')
_WITH_PORT: Final = re.compile(r"\[([^\]]*)\](?::[0-9]+)?|([0-9.]+):[0-9]+")

ProxyHeader: TypeAlias = Literal["x-forwarded-for", "forwarded"]
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class TrustedProxies:
    """Reverse proxies whose ``header`` is believed: their ``networks``, and ``unix`` for those that use a UNIX socket.

    Without any, the client is the peer of the connection.
    """

    networks: tuple[Network, ...] = ()
    unix: bool = False
    header: ProxyHeader = "x-forwarded-for"

    @classmethod
    def parse(cls, entries: Iterable[str], header: ProxyHeader = "x-forwarded-for") -> Self:
        """Return the proxies with these addresses, networks, or "unix". Raises ValueError."""
        texts = list(entries)
        networks = tuple(ipaddress.ip_network(text) for text in texts if text != UNIX)
        return cls(networks, UNIX in texts, header)

    def __bool__(self) -> bool:
        """Whether there are any. Without, no request needs to be examined, which takes a tenth of its CPU time."""
        return self.unix or bool(self.networks)

    def trust(self, address: str) -> bool:
        """Return whether this is the address of a trusted proxy."""
        if address == UNIX:
            return self.unix
        if not self.networks:
            return False
        parsed = _parse_address(address)
        return parsed is not None and any(parsed in network for network in self.networks)

    def client_address(self, peer: str, headers: Mapping[str, str]) -> str:
        """Return the address of the client; ``peer`` is that of the connection, ``headers`` are by lower-case name.

        If a trusted proxy does not tell the address, it is that of the proxy.
        """
        address = peer
        for hop in self._hops(headers.get(self.header, "")):
            parsed = _parse_address(hop)
            if parsed is None or not self.trust(address):
                break
            address = str(parsed)
        return address

    def is_secure(self, peer: str, headers: Mapping[str, str]) -> bool:
        """Return whether a trusted proxy received the request over TLS."""
        if not self.trust(peer):
            return False
        if self.header == "forwarded":
            return next((pairs.get("proto", "") for pairs in _forwarded(headers.get(self.header, ""))), "") == "https"
        return headers.get("x-forwarded-proto", "").rpartition(",")[2].strip().lower() == "https"

    def _hops(self, value: str) -> Iterator[str]:
        """Yield the addresses in the header, the nearest first."""
        if self.header == "forwarded":
            for pairs in _forwarded(value):
                yield pairs.get("for", "")
        else:
            yield from reversed(value.rsplit(",", _MAX_HOPS)[-_MAX_HOPS:])


def _forwarded(value: str) -> Iterator[dict[str, str]]:
    """Yield the parameters of each element of Forwarded, the nearest first; of an invalid one, none."""
    for element in reversed(_ELEMENT.findall(value)[-_MAX_HOPS:]):
        pairs = _PAIR.findall(element)
        yield {name.lower(): re.sub(r"\\(.)", r"\1", text.strip('"')).lower() for name, text in pairs}


def _parse_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return an address that may have a port; None for other text, such as "unknown" (RFC 7239 section 6)."""
    text = text.strip().partition("%")[0]
    if match := _WITH_PORT.fullmatch(text):
        text = match[1] or match[2] or ""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
