"""Parses SIP URIs (RFC 3261 section 19.1), restricted to those that are safe in an Asterisk dial string."""

import ipaddress
import re
from collections import Counter
from dataclasses import dataclass

from voxrec.error_codes import FieldErrorCode
from voxrec.errors import InvalidValue

# RFC 3261 section 25.1, without the characters "&" and "," of user-unreserved: they separate dial strings and arguments
# in Asterisk, so a URI with them could call a second destination. They can be percent-encoded.
_USER = re.compile(r"(?:[A-Za-z0-9\-_.!~*'()=+$;?/]|%[0-9A-Fa-f]{2})+")
_PASSWORD = re.compile(r"(?:[A-Za-z0-9\-_.!~*'()=+$]|%[0-9A-Fa-f]{2})*")
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9\-]*[A-Za-z0-9])?")
_PARAMETER = re.compile(r"(?:[A-Za-z0-9\-_.!~*'()\[\]/:+$]|%[0-9A-Fa-f]{2})+")
_CONTROL_ESCAPE = re.compile(r"%(?:[01][0-9A-Fa-f]|7[Ff])")
MAX_LENGTH = 255
PERMITTED_PARAMETERS = frozenset(
    {"transport", "user", "lr", "gr", "ob", "line", "rinstance", "cause", "target", "isub", "phone-context", "tgrp",
     "trunk-context"}
)  # fmt: skip
"""URI parameters that have no influence on the host to which a request is sent, or only on the protocol.

``maddr`` replaces the host (RFC 3261 section 19.1.1, and so does PJSIP), ``method`` the method; those not listed are
unknown. Phones put ``ob``, ``gr``, ``line`` and ``rinstance`` into the address of an attended transfer.
"""
_TRANSPORTS = frozenset({"udp", "tcp", "tls", "ws", "wss", "sctp"})


class SipUriError(InvalidValue):
    """The text is not a SIP URI that voxrec can call. The message completes the sentence "the URI ..."."""


@dataclass(frozen=True, slots=True)
class SipUri:
    """A parsed ``sip:`` or ``sips:`` URI. ``host`` is lower case, an IPv6 address without its brackets."""

    scheme: str
    user: str | None
    host: str
    port: int | None
    parameters: tuple[tuple[str, str | None], ...]


def parse(text: str) -> SipUri:
    """Parse a SIP URI (RFC 3261 section 19.1.1).

    Raises `SipUriError` if ``text`` is not a SIP URI, is longer than `MAX_LENGTH`, or contains headers (``?``; section
    19.1.5 describes the risks), a parameter that is not in `PERMITTED_PARAMETERS`, ``&``, ``,``, white space, or a
    control character, escaped or not.
    """
    if len(text) > MAX_LENGTH:
        raise SipUriError(
            f"is {len(text)} characters long; at most {MAX_LENGTH} are allowed",
            FieldErrorCode.TOO_LONG,
            {"maximum": MAX_LENGTH},
        )
    scheme, colon, rest = text.partition(":")
    if not colon or scheme.lower() not in ("sip", "sips"):
        raise SipUriError("must begin with sip: or sips:", FieldErrorCode.SIP_SCHEME)
    if forbidden := next((c for c in rest if not "!" <= c <= "~" or c in '"<>\\^`{|}#&,'), None):
        raise SipUriError(f"must not contain {forbidden!r}", FieldErrorCode.SIP_CHARACTER, {"character": forbidden})
    if escape := _CONTROL_ESCAPE.search(rest):
        raise SipUriError(
            "must not contain an escaped control character", FieldErrorCode.SIP_CHARACTER, {"character": escape[0]}
        )
    userinfo, at, hostpart = rest.rpartition("@")
    if "@" in userinfo:
        raise SipUriError("must contain at most one @", FieldErrorCode.SIP_USER, {"value": userinfo})
    if at:
        user, _, password = userinfo.partition(":")
        if not _USER.fullmatch(user):
            raise SipUriError(
                f"has no valid user part before the @: {user!r}", FieldErrorCode.SIP_USER, {"value": user}
            )
        if not _PASSWORD.fullmatch(password):
            raise SipUriError(
                "has a password part with characters that RFC 3261 does not allow", FieldErrorCode.SIP_PASSWORD
            )
    if "?" in hostpart:
        raise SipUriError("must not contain headers (?...)", FieldErrorCode.SIP_HEADERS)
    hostport, *parameters = hostpart.split(";")
    host, port = _host_and_port(hostport)
    pairs = tuple(map(_parameter, parameters))
    if len({name for name, _ in pairs}) < len(pairs):
        name = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise SipUriError("contains a parameter more than once", FieldErrorCode.DUPLICATE, {"value": name})
    return SipUri(scheme.lower(), user if at else None, host, port, pairs)


def _host_and_port(text: str) -> tuple[str, int | None]:
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            bracket = ""
        if not bracket or (rest and not rest.startswith(":")):
            raise SipUriError(
                f"has no valid IPv6 address in brackets: {text!r}", FieldErrorCode.SIP_HOST, {"value": text}
            )
        port = rest[1:] if rest else None
    else:
        host, colon, digits = text.partition(":")
        port = digits if colon else None
        if not _is_host(host):
            raise SipUriError(
                f"has no valid host: {host!r}; a host name or an IP address is allowed",
                FieldErrorCode.SIP_HOST,
                {"value": host},
            )
    if port is None:
        return host.lower(), None
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
        raise SipUriError(
            f"has no valid port: {port!r}; 1 to 65535 is allowed", FieldErrorCode.SIP_PORT, {"value": port}
        )
    return host.lower(), int(port)


def _is_host(host: str) -> bool:
    if re.fullmatch(r"[0-9.]+", host):
        try:
            ipaddress.IPv4Address(host)
        except ValueError:
            return False
        return True
    labels = host.removesuffix(".").split(".")
    # RFC 3261: toplabel begins with a letter; otherwise "12345.0" would be a host name
    return all(map(_LABEL.fullmatch, labels)) and len(host) <= 253 and labels[-1][0].isalpha()


def _parameter(text: str) -> tuple[str, str | None]:
    name, equals, value = text.partition("=")
    if not _PARAMETER.fullmatch(name) or (equals and not _PARAMETER.fullmatch(value)):
        raise SipUriError(
            f"has no valid parameter: {text!r}; ;name or ;name=value is allowed",
            FieldErrorCode.SIP_PARAMETER,
            {"value": text, "allowed": sorted(PERMITTED_PARAMETERS)},
        )
    if name.lower() not in PERMITTED_PARAMETERS:
        permitted = ", ".join(sorted(PERMITTED_PARAMETERS))
        raise SipUriError(
            f"must not contain the {name} parameter; permitted are {permitted}",
            FieldErrorCode.SIP_PARAMETER,
            {"value": name, "allowed": sorted(PERMITTED_PARAMETERS)},
        )
    if name.lower() == "transport" and value.lower() not in _TRANSPORTS:
        raise SipUriError(
            f"has no valid transport: {value!r}; one of {', '.join(sorted(_TRANSPORTS))} is allowed",
            FieldErrorCode.SIP_TRANSPORT,
            {"value": value, "allowed": sorted(_TRANSPORTS)},
        )
    return name.lower(), value if equals else None


def is_host_allowed(host: str, allowed: tuple[str, ...]) -> bool:
    """Return whether ``host`` matches an entry of ``allowed``.

    An entry is a host name, ``*.domain`` for all its subdomains, an IP address, or a network (``10.0.0.0/8``). An empty
    ``allowed`` matches every host.
    """
    return not allowed or is_host_listed(host, allowed)


def is_host_listed(host: str, entries: tuple[str, ...]) -> bool:
    """Return whether ``host`` matches one of ``entries``, which have the form described at `is_host_allowed`."""
    normalized = host.rstrip(".").lower()
    return any(_matches(normalized, entry.rstrip(".").lower()) for entry in entries)


def _matches(host: str, entry: str) -> bool:
    if entry.startswith("*."):
        return host.endswith(entry[1:])
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return host == entry
