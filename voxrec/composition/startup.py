"""Completes the start of the daemon only when it can do its work."""

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from voxrec.api.operations.health import Probe
from voxrec.errors import ConfigError, VoxrecError
from voxrec.systemd import sd_notify

REQUIRED: Final = ("postgresql", "archive", "spool")
"""The readiness probes that must succeed. Asterisk may start later; its state is in /health/ready."""

_FIRST_INTERVAL: Final = 0.25  # seconds between checks
_INTERVAL: Final = 2.0  # seconds between checks when the start takes longer
_NORMAL: Final = 10.0  # seconds that a normal start may take; afterwards the log says what is missing
_EXTENSION: Final = 60  # seconds by which each check extends the unit's TimeoutStartSec


class Server(Protocol):
    """The HTTP server."""

    error: ConfigError | None

    @property
    def listening(self) -> bool:
        """Whether clients can connect."""

    @property
    def address(self) -> str:
        """The address to listen on."""


class StartupGate(Service):
    """Waits until REST listens, and PostgreSQL, the archive and the recording directory are usable.

    It is the last service of the tree: calls are handled while it waits, because they do not need any of these. systemd
    regards the daemon as starting, for as long as it takes, and shows what is missing as its status. A server that may
    not listen ends the start.
    """

    name = "startup gate"
    _log = Logger()

    def __init__(
        self, reactor: Any, server: Server, probes: Mapping[str, Probe], notify: Callable[[str], None] = sd_notify
    ) -> None:
        self._reactor = reactor
        self._server = server
        self._probes = {name: probe for name, probe in probes.items() if name in REQUIRED}
        self._notify = notify

    def startService(self) -> Deferred[None]:
        """Wait. The Deferred fails with the server's error if it may not listen."""
        super().startService()
        return Deferred.fromCoroutine(self._wait())

    async def _wait(self) -> None:
        started = self._reactor.seconds()
        reported = ""
        while problem := await self._problem():
            late = self._reactor.seconds() - started >= _NORMAL
            if late and problem != reported:
                reported = problem
                self._log.warn(
                    "voxrec is not ready yet: {problem}; calls to known Profiles are handled meanwhile", problem=problem
                )
            self._notify(f"EXTEND_TIMEOUT_USEC={_EXTENSION * 1_000_000}\nSTATUS=not ready: {problem}")
            await deferLater(self._reactor, _INTERVAL if late else _FIRST_INTERVAL)
        self._notify("STATUS=")

    async def _problem(self) -> str:
        """Return everything that is missing, on one line; empty if nothing is."""
        if self._server.error is not None:
            raise self._server.error
        problems = [] if self._server.listening else [f"REST does not listen on {self._server.address}"]
        for name, probe in self._probes.items():
            try:
                detail = await probe()
            except VoxrecError as error:
                detail = error.detail
            if detail is not None:
                problems.append(f"{name}: {detail}")
        return "; ".join(problems)
