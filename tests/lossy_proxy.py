"""A TCP proxy that loses answers: the server does what was asked, but the client never learns it."""

from collections.abc import Callable
from typing import Any

from twisted.protocols.portforward import ProxyClient, ProxyClientFactory, ProxyServer

from voxrec.sandbox.tcp_proxy import TcpProxy


class _Client(ProxyClient):
    """The connection to the server."""

    peer: Any

    def dataReceived(self, data: bytes) -> None:
        """Pass what the server sends, or close the connection to the client if it is an answer to lose."""
        if self.peer.loses_answer and not data.startswith(b"HTTP/1.1 100 "):  # which is no answer yet
            self.peer.transport.abortConnection()
        else:
            super().dataReceived(data)


class _ClientFactory(ProxyClientFactory):
    noisy = False
    protocol = _Client


class _Server(ProxyServer):
    """The connection to the client."""

    clientProtocolFactory = _ClientFactory  # noqa: N815 - Twisted's name
    factory: "LossyProxy"
    loses_answer = False

    def dataReceived(self, data: bytes) -> None:
        """Pass what the client sends, and remember whether the answer is to be lost."""
        if self.factory.matches(data):
            self.factory.matching += 1
            self.loses_answer = self.factory.lossy
        super().dataReceived(data)


class LossyProxy(TcpProxy):
    """Loses the answers to what ``matches``, while ``lossy``. ``matching`` counts it, lost or not.

    ``matches`` is called with each piece of data that arrives from a client.
    """

    protocol: Any = _Server

    def __init__(self, target: int, matches: Callable[[bytes], bool]) -> None:
        super().__init__(target)
        self.matches = matches
        self.matching = 0
        self.lossy = True
