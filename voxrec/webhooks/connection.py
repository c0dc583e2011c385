"""Connections to receivers of webhooks: name look-up, the check of the address, and limits of what is received."""

import socket
from collections.abc import Awaitable, Callable
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Protocol
from zope.interface import implementer

from voxrec.errors import DeliveryError
from voxrec.limited_connection import LimitedConnection, LimitedConnectionFactory
from voxrec.threads import DeferToThread
from voxrec.webhooks.addresses import AddressPolicy

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""Returns the IP addresses of a host name, in the order of preference."""

_CONNECT_TIMEOUT: Final = 5.0  # seconds for each address
_MAX_ADDRESSES: Final = 4


def resolver(defer_to_thread: DeferToThread) -> Resolve:
    """Return a function that looks up names in threads, as the C library does."""

    def look_up(host: str, port: int) -> list[str]:
        entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(str(address[0]) for *_, address in entries))

    async def resolve(host: str, port: int) -> list[str]:
        try:
            addresses: list[str] = await defer_to_thread(look_up, host, port)
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise DeliveryError(f"the host {host} cannot be resolved: {reason}", permanent=False) from error
        return addresses

    return resolve


@implementer(IStreamClientEndpoint)
class TargetEndpoint:
    """Connects to a host, if the policy permits its address.

    The name is looked up once, and the connection is made to an address that was checked: a name server cannot answer
    differently in between (DNS rebinding). ``connection`` is the last connection.
    """

    def __init__(self, reactor: Any, host: str, port: int, *, resolve: Resolve, policy: AddressPolicy) -> None:
        self._reactor = reactor
        self._host = host
        self._port = port
        self._resolve = resolve
        self._policy = policy
        self.connection: LimitedConnection | None = None

    def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect; the Deferred fires with the protocol, or fails with DeliveryError."""
        return Deferred.fromCoroutine(self._connect(factory))

    async def _connect(self, factory: IProtocolFactory) -> IProtocol:
        addresses = await self._resolve(self._host, self._port)
        permitted = [address for address in addresses if self._policy.permits(address)]
        if not permitted:
            listed = ", ".join(addresses[:_MAX_ADDRESSES])
            raise DeliveryError(
                f"the address {listed} of {self._host} is not public; webhooks.allowed_networks does not contain it",
                permanent=False,
            )
        failure: Exception | None = None
        for address in permitted[:_MAX_ADDRESSES]:
            try:
                return await self._connect_to(address, factory)
            except Exception as error:  # the next address may be reachable
                failure = error
        raise DeliveryError(f"connection to {self._host}:{self._port} failed: {failure}", permanent=False) from failure

    async def _connect_to(self, address: str, factory: IProtocolFactory) -> IProtocol:
        endpoint_type = TCP6ClientEndpoint if ":" in address else TCP4ClientEndpoint
        endpoint = endpoint_type(self._reactor, address, self._port, timeout=_CONNECT_TIMEOUT)
        connection = await endpoint.connect(LimitedConnectionFactory(factory))
        assert isinstance(connection, LimitedConnection)
        self.connection = connection
        wrapped = connection.wrappedProtocol
        assert isinstance(wrapped, Protocol)
        return wrapped
