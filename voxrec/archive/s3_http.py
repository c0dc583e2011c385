"""Sends the HTTP requests of boto3 with bounds that botocore's own session does not have.

A store, or what answers in its place, may be hostile or broken: it may answer with an endless body or endless headers,
or send and read one byte a minute, for which the timeouts of single socket operations never end. Here every request and
every block of a body has a deadline, after which its connection is shut down, and a response that is kept in memory has
a maximum size. Redirects are not followed.
"""

import math
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any, Final, Self
from urllib.parse import urlsplit

import urllib3
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.exceptions import (
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    ReadTimeoutError,
    ResponseStreamingError,
    SSLError,
)
from botocore.utils import get_environ_proxies
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

MAX_DOCUMENT: Final = 4_194_304  # bytes of a response that is kept in memory: documents and errors, a page of a list
MIN_RATE: Final = 16_384  # bytes per second at which the store must accept a request body, on top of the timeout
_BLOCK_SIZE: Final = 131_072  # bytes that are read and written at a time


class Deadline:
    """Shuts a connection down when the time is up, which ends any operation on it that blocks a thread."""

    def __init__(self, seconds: float) -> None:
        self.passed = False
        self._seconds = seconds
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()

    def watch(self, connection: socket.socket | None) -> None:
        """Name the socket that is shut down."""
        with self._lock:
            self._socket = connection
            if self.passed:
                _shut_down(connection)

    def expire(self) -> None:
        """Shut the connection down: the time is up."""
        with self._lock:
            self.passed = True
            _shut_down(self._socket)

    def __enter__(self) -> Self:
        _watchdog.add(self, self._seconds)
        return self

    def __exit__(self, *_: object) -> None:
        _watchdog.remove(self)
        with self._lock:
            self._socket = None  # which may serve another request when this deadline expires at this moment


class _Watchdog:
    """Expires deadlines, in one thread for all: one for each request and each block would cost more than they do."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._times: dict[Deadline, float] = {}
        self._next = math.inf
        self._started = False

    def add(self, deadline: Deadline, seconds: float) -> None:
        """Expire a deadline after some seconds, unless it is removed before."""
        at = time.monotonic() + seconds
        with self._changed:
            self._times[deadline] = at
            if not self._started:
                self._started = True
                threading.Thread(target=self._run, name="S3 deadlines", daemon=True).start()
            elif at < self._next:
                self._changed.notify()

    def remove(self, deadline: Deadline) -> None:
        """Do not expire a deadline."""
        with self._changed:
            self._times.pop(deadline, None)

    def _run(self) -> None:
        while True:
            for deadline in self._wait():
                deadline.expire()

    def _wait(self) -> list[Deadline]:
        """Wait until the next deadline, or an earlier one is added, and return those that are due."""
        with self._changed:
            self._next = min(self._times.values(), default=math.inf)
            delay = self._next - time.monotonic()
            if delay > 0:
                self._changed.wait(None if math.isinf(delay) else delay)
            now = time.monotonic()
            due = [deadline for deadline, at in self._times.items() if at <= now]
            for deadline in due:
                del self._times[deadline]
        return due


_watchdog: Final = _Watchdog()


def _shut_down(connection: socket.socket | None) -> None:
    if connection is not None:
        with suppress(OSError):
            # not that of SSLSocket, which also removes the TLS session that another thread is using
            socket.socket.shutdown(connection, socket.SHUT_RDWR)


_current: Final = threading.local()
"""``deadline`` is that of the request that this thread sends."""


class _Watched:
    """Part of the connection classes: names the socket in use to the deadline of the request."""

    sock: Any

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]
        _watch(self.sock)

    def putrequest(self, *args: Any, **kwargs: Any) -> None:
        _watch(self.sock)  # of a connection that is used again
        super().putrequest(*args, **kwargs)  # type: ignore[misc]


def _watch(connection: socket.socket | None) -> None:
    deadline: Deadline | None = getattr(_current, "deadline", None)
    if deadline is not None and connection is not None:
        deadline.watch(connection)


class _HttpConnection(_Watched, HTTPConnection):
    pass


class _HttpsConnection(_Watched, HTTPSConnection):
    pass


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _HttpConnection


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _HttpsConnection


class BoundedSession:
    """Handles botocore's event ``before-send``: sends the request and returns the response.

    ``timeout`` is that of connecting, of each operation on the socket, and, in addition to the time that the body needs
    at `MIN_RATE`, of the whole request, in seconds. ``completion_timeout`` is that of the completion of an upload in
    parts, during which a store may be silent, or send white space. ``ca_file`` replaces the certificate authorities of
    the system.
    """

    def __init__(self, timeout: float, completion_timeout: float, connections: int, ca_file: str = "") -> None:
        self._timeout = timeout
        self._completion_timeout = max(timeout, completion_timeout)
        self._options: dict[str, Any] = {
            "num_pools": 16,
            "maxsize": connections,
            "ssl_context": ssl.create_default_context(cafile=ca_file or None),
            "blocksize": _BLOCK_SIZE,
        }
        self._managers: dict[str | None, urllib3.PoolManager] = {}

    def close(self) -> None:
        """Close the connections that are not in use."""
        for manager in self._managers.values():
            manager.clear()

    def __call__(self, request: AWSPreparedRequest, *, event_name: str = "", **_: object) -> AWSResponse:
        """Send a request. Raises botocore's exceptions, as its own session does.

        The last part of ``event_name`` is the name of the operation.
        """
        completes = event_name.endswith(".CompleteMultipartUpload")
        try:
            return self._send(request, self._completion_timeout if completes else self._timeout)
        except HTTPClientError:
            raise
        except urllib3.exceptions.SSLError as error:
            raise SSLError(endpoint_url=request.url, error=error) from error
        except (urllib3.exceptions.NewConnectionError, socket.gaierror) as error:
            raise EndpointConnectionError(endpoint_url=request.url, error=error) from error
        except urllib3.exceptions.ConnectTimeoutError as error:
            raise ConnectTimeoutError(endpoint_url=request.url, error=error) from error
        except urllib3.exceptions.ReadTimeoutError as error:
            raise ReadTimeoutError(endpoint_url=request.url, error=error) from error
        except urllib3.exceptions.ProtocolError as error:
            raise ConnectionClosedError(error=error, request=request, endpoint_url=request.url) from error
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise HTTPClientError(error=error) from error

    def _send(self, request: AWSPreparedRequest, timeout: float) -> AWSResponse:
        seconds = timeout + _length(request.body) / MIN_RATE
        with self._deadline(request.url, seconds):
            raw = self._manager(request.url).urlopen(
                request.method,
                request.url,
                body=request.body,
                timeout=urllib3.Timeout(connect=self._timeout, read=timeout),
                # without Expect, which urllib3 does not wait for
                headers={name: value for name, value in request.headers.items() if name.lower() != "expect"},
                retries=False,
                redirect=False,
                assert_same_host=False,
                preload_content=False,
                decode_content=False,
            )
            _refuse_redirection(raw)
            response = AWSResponse(request.url, raw.status, raw.headers, BoundedBody(raw, self._timeout))
            if not request.stream_output or raw.status >= 300:
                _ = response.content
        return response

    @contextmanager
    def _deadline(self, url: str, seconds: float) -> Iterator[None]:
        with Deadline(seconds) as deadline:
            _current.deadline = deadline
            cause: Exception | None = None
            try:
                yield
            except Exception as error:
                if not deadline.passed:
                    raise
                cause = error
            finally:
                _current.deadline = None
            if deadline.passed:  # also if what arrived until then looks complete, such as the beginning of the headers
                raise ReadTimeoutError(endpoint_url=url, error=f"no response within {seconds:.0f} s") from cause

    def _manager(self, url: str) -> urllib3.PoolManager:
        proxy = _proxy_of(*urlsplit(url)[:2])
        if proxy not in self._managers:
            manager = urllib3.ProxyManager(proxy, **self._options) if proxy else urllib3.PoolManager(**self._options)
            manager.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}
            self._managers[proxy] = manager
        return self._managers[proxy]


class BoundedBody:
    """The body of a response: in blocks, each with a deadline, or completely, up to `MAX_DOCUMENT` bytes."""

    def __init__(self, raw: Any, timeout: float) -> None:
        self._raw = raw
        self._timeout = timeout

    def stream(self) -> Iterator[bytes]:
        """Yield a body that is to be kept in memory. Raises HTTPClientError if it is too large."""
        size, begun = 0, False
        try:
            for block in self._raw.stream(_BLOCK_SIZE):
                size += len(block)
                if size > MAX_DOCUMENT:
                    raise HTTPClientError(error=f"the response has more than {MAX_DOCUMENT} bytes")
                # white space with which a store keeps the connection open, and which may not precede an XML declaration
                document = block if begun else block.lstrip()
                begun = begun or bool(document)
                yield document
        except BaseException:
            self._raw.close()
            raise
        self._raw.release_conn()

    def read(self, amt: int | None = None) -> bytes:
        """Return the next bytes. Raises ResponseStreamingError if they do not arrive in time."""
        connection = getattr(self._raw, "connection", None)
        with Deadline(self._timeout) as deadline:
            deadline.watch(getattr(connection, "sock", None))
            try:
                block: bytes = self._raw.read(amt)
            except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
                raise ResponseStreamingError(error=error) from error
            if deadline.passed:
                raise ResponseStreamingError(error=f"the next {amt} bytes did not arrive within {self._timeout:.0f} s")
            return block

    def close(self) -> None:
        """Close the connection, unless the body was read to its end; then it was released to be used again."""
        self._raw.close()


@lru_cache(maxsize=64)
def _proxy_of(scheme: str, host: str) -> str | None:
    """Return the URL of the proxy for a host, as the environment of the process says, which does not change."""
    proxy: str | None = get_environ_proxies(f"{scheme}://{host}").get(scheme)
    return proxy


def _refuse_redirection(raw: Any) -> None:
    """Raise HTTPClientError for a redirection. botocore would look for the region, without end if that redirects."""
    if 300 <= raw.status < 400 and raw.status != 304:
        raw.close()
        region = raw.headers.get("x-amz-bucket-region")
        advice = f"set s3.region to {region}" if region else "correct s3.region or s3.endpoint"
        raise HTTPClientError(error=f"the store redirects ({raw.status}), which is not followed: {advice}")


def _length(body: Any) -> int:
    return len(body) if hasattr(body, "__len__") else 0
