"""SIP URIs as RFC 3261 section 19.1 defines them, narrowed to what may safely become the target of a call."""

import ipaddress
import re
from dataclasses import dataclass

# RFC 3261 section 25.1. Of user-unreserved, "&" and "," are left out: Asterisk separates dial strings and arguments
# with them, so that they could place a call that nobody meant. Percent-encoding carries them where they are needed.
_USER = re.compile(r"(?:[A-Za-z0-9\-_.!~*'()=+$;?/]|%[0-9A-Fa-f]{2})+")
_PASSWORD = re.compile(r"(?:[A-Za-z0-9\-_.!~*'()=+$]|%[0-9A-Fa-f]{2})*")
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9\-]*[A-Za-z0-9])?")
_PARAMETER = re.compile(r"(?:[A-Za-z0-9\-_.!~*'()\[\]/:+$]|%[0-9A-Fa-f]{2})+")
_CONTROL_ESCAPE = re.compile(r"%(?:[01][0-9A-Fa-f]|7[Ff])")
MAX_LENGTH = 255


class SipUriError(ValueError):
    """Not a SIP URI that voxrec can call; the message says why and what is allowed."""


@dataclass(frozen=True, slots=True)
class SipUri:
    """A parsed ``sip:`` or ``sips:`` URI. ``host`` is lower case, an IPv6 address without its brackets."""

    scheme: str
    user: str | None
    host: str
    port: int | None
    parameters: tuple[tuple[str, str | None], ...]


def parse(text: str) -> SipUri:
    """Read ``text`` as a SIP URI (RFC 3261 section 19.1.1); raise `SipUriError` saying what does not fit.

    Headers (``?``) and the ``method`` parameter are refused: a call's target has no use for them (section 19.1.5
    warns of both), nor are ``&``, ``,``, white space or control characters allowed, escaped or not.
    """
    if len(text) > MAX_LENGTH:
        raise SipUriError(f"is {len(text)} characters long; at most {MAX_LENGTH} are allowed")
    scheme, colon, rest = text.partition(":")
    if not colon or scheme.lower() not in ("sip", "sips"):
        raise SipUriError("must begin with sip: or sips:")
    if bad := next((c for c in rest if not "!" <= c <= "~" or c in '"<>\\^`{|}#&,'), None):
        raise SipUriError(f"must not contain {bad!r}")
    if _CONTROL_ESCAPE.search(rest):
        raise SipUriError("must not contain an escaped control character")
    userinfo, at, hostpart = rest.rpartition("@")
    if "@" in userinfo:
        raise SipUriError("must contain at most one @")
    if at:
        user, _, password = userinfo.partition(":")
        if not _USER.fullmatch(user):
            raise SipUriError(f"has no valid user part before the @: {user!r}")
        if not _PASSWORD.fullmatch(password):
            raise SipUriError("has a password part with characters that RFC 3261 does not allow")
    if "?" in hostpart:
        raise SipUriError("must not carry headers (?...)")
    hostport, *parameters = hostpart.split(";")
    host, port = _host_and_port(hostport)
    return SipUri(scheme.lower(), user if at else None, host, port, tuple(map(_parameter, parameters)))


def _host_and_port(text: str) -> tuple[str, int | None]:
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            bracket = ""
        if not bracket or (rest and not rest.startswith(":")):
            raise SipUriError(f"has no valid IPv6 address in brackets: {text!r}")
        port = rest[1:] if rest else None
    else:
        host, colon, digits = text.partition(":")
        port = digits if colon else None
        if not _is_host(host):
            raise SipUriError(f"has no valid host: {host!r}; a host name or an IP address is allowed")
    if port is None:
        return host.lower(), None
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
        raise SipUriError(f"has no valid port: {port!r}; 1 to 65535 is allowed")
    return host.lower(), int(port)


def _is_host(host: str) -> bool:
    if re.fullmatch(r"[0-9.]+", host):
        try:
            ipaddress.IPv4Address(host)
        except ValueError:
            return False
        return True
    labels = host.removesuffix(".").split(".")
    # toplabel begins with a letter, or "12345.0" would be a host
    return all(map(_LABEL.fullmatch, labels)) and len(host) <= 253 and labels[-1][0].isalpha()


def _parameter(text: str) -> tuple[str, str | None]:
    name, equals, value = text.partition("=")
    if not _PARAMETER.fullmatch(name) or (equals and not _PARAMETER.fullmatch(value)):
        raise SipUriError(f"has no valid parameter: {text!r}; ;name or ;name=value is allowed")
    if name.lower() == "method":
        raise SipUriError("must not carry the method parameter")
    return name.lower(), value if equals else None


def host_allowed(host: str, allowed: tuple[str, ...]) -> bool:
    """Whether ``host`` may be called. An entry is a host name, ``*.domain`` for all below it, an address or a network.

    An empty list allows every host.
    """
    if not allowed:
        return True
    name = host.rstrip(".").lower()
    return any(_matches(name, entry.rstrip(".").lower()) for entry in allowed)


def _matches(host: str, entry: str) -> bool:
    if entry.startswith("*."):
        return host.endswith(entry[1:])
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return host == entry
