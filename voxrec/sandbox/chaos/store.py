"""The S3 store of a chaos run, behind a proxy that fails as networks and overloaded stores do."""

import hashlib
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from botocore.exceptions import ClientError
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import connectionDone
from twisted.internet.threads import deferToThread
from twisted.protocols.portforward import ProxyServer
from twisted.python.failure import Failure

from voxrec.sandbox.asterisk import LOOPBACK, free_port
from voxrec.sandbox.seaweedfs import ACCESS_KEY, SECRET_KEY, SeaweedFS, client_of
from voxrec.sandbox.tcp_proxy import TcpProxy

BUCKET: Final = "recordings"
_REFUSAL_BODY: Final = (
    b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>"
)
_REFUSAL: Final = (
    b"HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nContent-Length: %d\r\nRetry-After: 1\r\n"
    b"Connection: close\r\n\r\n%s" % (len(_REFUSAL_BODY), _REFUSAL_BODY)
)
_LINGER_SECONDS: Final = 2.0  # a client that still sends must be able to read the refusal before a reset


class _Connection(ProxyServer):
    """A connection of a client, with the faults of its proxy."""

    received = 0
    refused = False
    _next_step: IDelayedCall | None = None

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Forget what was still to be done with this connection."""
        if self._next_step is not None and self._next_step.active():
            self._next_step.cancel()
        super().connectionLost(reason)

    def dataReceived(self, data: bytes) -> None:
        """Forward data of the client, unless a fault prevents it."""
        proxy: StoreProxy = self.factory  # type: ignore[assignment]
        reactor: Any = self.reactor
        transport: Any = self.transport
        self.received += len(data)
        if self.refused or self.peer is None:
            return
        if proxy.refuses:
            self.refused = True
            transport.write(_REFUSAL)
            self._next_step = reactor.callLater(_LINGER_SECONDS, transport.loseConnection)
        elif proxy.limit is not None and self.received > proxy.limit:
            transport.abortConnection()
        else:
            super().dataReceived(data)
            if proxy.rate is not None:
                transport.pauseProducing()
                self._next_step = reactor.callLater(len(data) / proxy.rate, transport.resumeProducing)


class StoreProxy(TcpProxy):
    """A proxy to a store. A fault affects new connections, and those that are open."""

    protocol = _Connection
    rate: float | None = None
    """Bytes per second that it accepts from each connection; None: as many as the store does."""
    limit: int | None = None
    """Bytes from a connection after which it aborts that; None: it does not."""
    refuses = False
    """Whether it answers each request with 503 and SlowDown."""


class ChaosStore:
    """A store with one bucket, whose clients reach it at ``port``."""

    def __init__(self, reactor: Any, directory: Path) -> None:
        self._reactor = reactor
        self._server = SeaweedFS(directory)
        self.proxy = StoreProxy(self._server.port)
        self.port = free_port(socket.SOCK_STREAM)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._server.pid

    @property
    def settings(self) -> Mapping[str, Any]:
        """The section s3 of the settings of voxrec, with short delays, so that a run does not wait for them."""
        return {
            "bucket": BUCKET,
            "endpoint": f"http://{LOOPBACK}:{self.port}",
            "addressing": "path",
            "access_key": ACCESS_KEY,
            "secret_key": SECRET_KEY,
            "timeout": 5,
            "retry_first": 1,
            "retry_limit": 10,
        }

    async def start(self) -> None:
        """Start the server, create the bucket, and accept connections."""
        await self.launch()
        await deferToThread(client_of(self._server).create_bucket, Bucket=BUCKET)
        self.connect()

    async def launch(self) -> None:
        """Start the server, also again with the same data."""
        self._server.launch()
        await deferToThread(self._server.wait_until_ready)

    def connect(self) -> None:
        """Accept connections."""
        self.proxy.listen(self._reactor, self.port)

    def kill(self) -> None:
        """Kill the server (SIGKILL)."""
        self._server.kill()

    async def stop(self) -> None:
        """Stop everything."""
        await self.proxy.stop()
        self._server.kill()

    def download(self, recordings: Sequence[Mapping[str, Any]], directory: Path) -> dict[str, str]:
        """Download the audio of Recordings to files with their ids as names. Blocks.

        Return what is wrong with the object of each Recording by its id; empty: nothing.
        """
        directory.mkdir(exist_ok=True)
        client, keys = client_of(self._server), self._keys()
        return {each["id"]: _download(client, keys.get(each["id"]), each, directory) for each in recordings}

    def _keys(self) -> dict[str, str]:
        """Return the keys of all objects by the ids in them."""
        pages = client_of(self._server).get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        return {Path(entry["Key"]).stem: entry["Key"] for page in pages for entry in page.get("Contents", ())}


def _download(client: Any, key: str | None, recording: Mapping[str, Any], directory: Path) -> str:
    if key is None:
        return "the store has no object"
    target = directory / Path(key).name
    try:
        client.download_file(BUCKET, key, str(target))
    except ClientError as error:
        return f"the store does not return the object: {error}"
    found = hashlib.sha256(target.read_bytes()).hexdigest()
    return "" if found == recording["sha256"] else f"the object has the SHA-256 {found}, not {recording['sha256']}"
