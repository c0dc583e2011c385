"""A UDP port to which Asterisk sends the audio of one side of a call."""

from collections.abc import Callable
from ipaddress import ip_address
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import DatagramProtocol

from voxrec.calls.listening.rtp import RtpPacket, parse_rtp
from voxrec.errors import Unavailable
from voxrec.loopback import is_loopback_address

_ALL_INTERFACES: Final = {True: "::", False: "0.0.0.0"}  # noqa: S104 - by whether the address is one of IPv6
_MAX_DATAGRAM: Final = 2048  # bytes; 20 ms of linear PCM of 16 kHz are 652


class UdpReactor(Protocol):
    """The part of a reactor that opens UDP ports."""

    def listenUDP(  # noqa: N802
        self,
        port: int,
        protocol: DatagramProtocol,
        interface: str,
        maxPacketSize: int,  # noqa: N803
    ) -> IListeningPort:
        """Open a port; 0: any free one. Raises CannotListenError."""


class MediaPort(DatagramProtocol):
    """Passes RTP packets to ``received``, of one source only: others could send, too."""

    def __init__(self, received: Callable[[RtpPacket], None]) -> None:
        self._received = received
        self._listening: IListeningPort | None = None
        self._source: tuple[str, int] | None = None

    def open(self, reactor: UdpReactor, address: str) -> str:
        """Open a port for what Asterisk sends to ``address``, and return ``address:port``. Raises Unavailable."""
        is_ipv6 = ":" in address
        interface = address if is_loopback_address(address) else _ALL_INTERFACES[is_ipv6]
        try:
            self._listening = reactor.listenUDP(0, self, interface=interface, maxPacketSize=_MAX_DATAGRAM)
        except CannotListenError as error:
            raise Unavailable(f"No UDP port can be opened for the audio of a call: {error.socketError}.") from error
        host = f"[{address}]" if is_ipv6 else address
        local: Any = self._listening.getHost()
        return f"{host}:{local.port}"

    def accept_from(self, address: str, port: int) -> None:
        """Accept packets from this address and port only, and none before. Raises ValueError for an invalid address."""
        self._source = str(ip_address(address.partition("%")[0])), port  # Twisted reports no scope

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        """Handle a datagram."""
        if addr == self._source and (packet := parse_rtp(datagram)) is not None:
            self._received(packet)

    def close(self) -> Deferred[object]:
        """Close the port."""
        self._source = None
        listening, self._listening = self._listening, None
        return maybeDeferred(lambda: None if listening is None else listening.stopListening())
