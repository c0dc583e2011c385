"""Whether a host is this machine, so that what is sent to it is on no network."""

import ipaddress


def is_loopback_address(address: str) -> bool:
    """Return whether ``address`` is an IPv4 or IPv6 loopback address. False for anything that is not an address."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return (mapped or parsed).is_loopback


def is_loopback_host(host: str) -> bool:
    """Return whether ``host`` is a loopback address or a name below ``localhost`` (RFC 6761 section 6.3)."""
    name = host.lower().removesuffix(".")
    return name == "localhost" or name.endswith(".localhost") or is_loopback_address(host)
