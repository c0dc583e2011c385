"""The daemon: the embedded PostgreSQL, if it is used, and the gateway above it."""

import errno
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import txaio
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred, succeed
from twisted.internet.protocol import Factory
from twisted.internet.task import LoopingCall
from twisted.logger import ILogObserver, Logger
from twisted.python.components import Componentized
from twisted.python.failure import Failure

from voxrec.composition.gateway import GatewayServices, build_gateway
from voxrec.composition.reload import Reloader
from voxrec.config import Calls, Config
from voxrec.deferreds import retry
from voxrec.errors import VoxrecError
from voxrec.files import make_directory
from voxrec.interpreter_tuning import freeze_startup_objects, set_thread_switch_interval
from voxrec.log_output import LogOutput
from voxrec.postgres.embedded import EmbeddedPostgres
from voxrec.service_tree import RETRY_BACKOFF, SequentialMultiService
from voxrec.systemd import sd_notify, sd_notify_reloading, watchdog_interval

_TEMPORARY: Final = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ENFILE, errno.ENOMEM))
"""Errors of the operating system that end without a change of the installation, such as a full disk."""

_END_SECONDS: Final = 60.0
"""The time in which all calls are hung up, and everything else stops, after ``calls.grace``."""


class DatabaseServer(Service):
    """The PostgreSQL server: the configured one, or the embedded one, whose start is repeated until it succeeds."""

    name = "database server"
    _log = Logger()

    def __init__(self, reactor: Any, config: Config) -> None:
        self._reactor = reactor
        self._configured_dsn = str(config.database.dsn)
        self._embedded = EmbeddedPostgres(reactor, Path(config.data_directory, "postgres"))

    @property
    def dsn(self) -> str:
        """The connection string; that of the embedded server is known once it has started."""
        return self._configured_dsn or self._embedded.dsn

    def startService(self) -> Deferred[None]:
        """Start the embedded server, unless a server is configured; the Deferred fires when it accepts connections."""
        super().startService()
        return succeed(None) if self._configured_dsn else Deferred.fromCoroutine(self._start_embedded())

    def stopService(self) -> Deferred[None]:
        """Stop the embedded server."""
        super().stopService()
        return succeed(None) if self._configured_dsn else maybeDeferred(self._embedded.stopService)

    async def _start_embedded(self) -> None:
        await retry(
            self._reactor,
            self._embedded.startService,
            on=VoxrecError,
            backoff=RETRY_BACKOFF,
            report=lambda error, delay: self._log.error(
                "the embedded PostgreSQL does not start; retrying every {delay:g} s: {error}", delay=delay, error=error
            ),
        )


class Gateway(Service):
    """The gateway, which is built when it starts: only then is the connection string of the database known."""

    name = "gateway"

    def __init__(self, reactor: Any, config: Config, server: DatabaseServer) -> None:
        self._reactor = reactor
        self._config = config
        self._server = server
        self._services: GatewayServices | None = None

    def startService(self) -> Deferred[None]:
        """Build all services, and start them in their order."""
        super().startService()
        self._services = build_gateway(self._reactor, self._config, self._server.dsn)
        return self._services.startService()

    def reconfigure(self, config: Config) -> None:
        """Apply changed settings; if the services are not built yet, they are built with them."""
        self._config = config
        if self._services is not None:
            self._services.reconfigure(config)

    def stopService(self) -> Deferred[None]:
        """Stop all services in reverse order."""
        super().stopService()
        return succeed(None) if self._services is None else self._services.stopService()


class Voxrec(SequentialMultiService):
    """The whole daemon. It notifies systemd of reloads and its stop, and of its start when dependencies work.

    ``load_config`` reads the settings again for a reload, and raises ConfigError. ``log_output``, if there is one,
    becomes the log observer of the application.
    """

    def __init__(
        self,
        reactor: Any,
        config: Config,
        load_config: Callable[[], Config] | None = None,
        log_output: LogOutput | None = None,
    ) -> None:
        super().__init__()
        set_thread_switch_interval()
        _silence_libraries()
        self._reactor = reactor
        self._config = config
        self._log_output = log_output
        self._has_started = False
        server = DatabaseServer(reactor, config)
        server.setServiceParent(self)
        self._gateway = Gateway(reactor, config, server)
        self._gateway.setServiceParent(self)
        self._reloader = Reloader(config, load_config or (lambda: config), self._reconfigure)

    def setServiceParent(self, parent: Any) -> None:  # noqa: N802
        """Add the service to its parent. If that is twistd's application, the log goes to the log output."""
        super().setServiceParent(parent)
        if self._log_output is not None and isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, self._log_output)

    def reload(self) -> None:
        """Reload the settings and the TLS certificate (SIGHUP)."""
        if self._has_started:  # before, systemd still waits for the start
            sd_notify_reloading()
        try:
            self._reloader.reload()
        finally:
            if self._has_started:
                sd_notify("READY=1")

    def _reconfigure(self, config: Config) -> None:
        self._config = config
        if self._log_output is not None:
            self._log_output.configure(config.log.level, config.log.format)
        self._gateway.reconfigure(config)

    def privilegedStartService(self) -> None:
        """Create the data directory, and the archive if it is in the data directory.

        A configured archive directory is not created: if it is missing, its file system is probably not mounted. If the
        data directory is not writable, the process ends with status 78 (EX_CONFIG), or, because its file system is full
        or read-only, with 75 (EX_TEMPFAIL).
        """
        super().privilegedStartService()
        data_directory = Path(self._config.data_directory)
        try:
            # Asterisk, which is another account, reads the announcements below the data directory
            make_directory(data_directory, 0o755)
            if not self._config.archive.directory:
                make_directory(self._config.archive_directory, 0o750)
            with tempfile.TemporaryFile(dir=data_directory):
                pass
        except OSError as error:
            reason = error.strerror or str(error)
            self._log.critical(
                "voxrec cannot start: data_directory {directory} is not writable: {reason}. Free space "
                "there, make the user with id {user} its owner, or add it to ReadWritePaths= of the unit",
                directory=data_directory,
                reason=reason,
                user=os.geteuid(),
            )
            raise SystemExit(_exit_status(error)) from error

    def startService(self) -> Deferred[None]:
        """Start everything.

        After an error that a retry cannot resolve, the process stops with status 78 (EX_CONFIG), with which systemd
        does not restart it; if that is a full or read-only file system, with 75 (EX_TEMPFAIL), with which it does.
        """
        self._start_watchdog()
        starting = super().startService()
        starting.addCallbacks(self._start_succeeded, self._start_failed)
        return starting

    def _start_watchdog(self) -> None:
        """Report to systemd that the reactor is responsive, until the process ends: also while the services stop."""
        interval = watchdog_interval()
        if interval is not None:
            watchdog = LoopingCall(sd_notify, "WATCHDOG=1")
            watchdog.clock = self._reactor
            watchdog.start(interval)

    def stopService(self) -> Deferred[None]:
        """Stop everything: first the calls, as ``calls.on_stop`` says, the database last."""
        self._has_started = False
        sd_notify(f"STOPPING=1{_stop_extension(self._config.calls)}")
        return super().stopService()

    def _start_succeeded(self, _: None) -> None:
        freeze_startup_objects()
        self._log.info("voxrec has started")
        self._has_started = True
        sd_notify("READY=1")

    def _start_failed(self, failure: Failure) -> None:
        if failure.check(CancelledError):
            return
        if failure.check(VoxrecError, OSError):
            self._log.critical("voxrec cannot start; stopping: {error}", error=failure.value)
        else:
            self._log.failure("voxrec cannot start; stopping", failure)
        # twistd exits with 0 in any case; the services that were started are stopped first
        self._reactor.addSystemEventTrigger("after", "shutdown", os._exit, _exit_status(failure.value))
        self._reactor.stop()


def _stop_extension(calls: Calls) -> str:
    """Return the line with which systemd waits for the end of live calls, also beyond the unit's ``TimeoutStopSec``."""
    return f"\nEXTEND_TIMEOUT_USEC={round((calls.grace + _END_SECONDS) * 1e6)}" if calls.on_stop == "end" else ""


def _exit_status(error: BaseException | None) -> int:
    """Return the status with which an error at the start ends the process: systemd restarts it unless that is 78."""
    return os.EX_TEMPFAIL if isinstance(error, OSError) and error.errno in _TEMPORARY else os.EX_CONFIG


def _silence_libraries() -> None:
    """Turn off the log messages of Twisted for each connection, and those of Autobahn, which `EventStream` repeats."""
    Factory.noisy = False
    txaio.set_global_log_level("critical")  # type: ignore[attr-defined] # Autobahn sets it at run time
