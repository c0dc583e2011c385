"""Limits what the kernel keeps of a live stream for a client that does not receive it."""

import socket
from typing import Any, Final

_UNSENT: Final = 16_384  # bytes, half a second of 16 bits, 8 kHz and two channels


def limit_backlog(transport: Any, seconds: float) -> None:
    """Let the kernel close the TCP connection of ``transport`` if the client acknowledges nothing for ``seconds``.

    This finds clients that have vanished, and those that do not read (tcp(7), TCP_USER_TIMEOUT). The kernel also keeps
    little that it cannot send yet (TCP_NOTSENT_LOWAT), so that a slow client hears what is said now. The connection
    keeps both for later requests. Connections that are not TCP stay as they are.
    """
    connection = getattr(transport, "socket", None)  # also below TLS
    if not isinstance(connection, socket.socket) or connection.family not in (socket.AF_INET, socket.AF_INET6):
        return
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(seconds * 1000))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT)
