"""An HTTP server that answers as a test wants, in threads, and whose connections end with the test."""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Self

Answer = Callable[[socket.socket, bytes], None]
"""Answers one request: is called with the connection and the head of the request, whose body was not read."""


class HostileServer:
    """Accepts connections, reads the head of each request, and calls ``answer``; then closes the connection."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._connections: list[socket.socket] = []
        self.requests: list[bytes] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        self._thread.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                if not (block := connection.recv(65536)):
                    return
                head += block
            self.requests.append(head)
            self._answer(connection, head)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass


def error(status: int, code: str, headers: str = "") -> Answer:
    """Return an answer with an error document of S3."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>from the test</Message></Error>"
    return document(body, status, headers)


def document(body: str = "", status: int = 200, headers: str = "", *, length: bool = True) -> Answer:
    """Return an answer with this body."""

    def answer(connection: socket.socket, _head: bytes) -> None:
        size = f"Content-Length: {len(body)}\r\n" if length else ""
        connection.sendall(f"HTTP/1.1 {status} X\r\n{size}Connection: close\r\n{headers}\r\n{body}".encode())

    return answer


def endless(start: bytes, repeated: bytes) -> Answer:
    """Return an answer that never ends, as fast as the client reads."""

    def answer(connection: socket.socket, _head: bytes) -> None:
        connection.sendall(start)
        while True:
            connection.sendall(repeated)

    return answer
