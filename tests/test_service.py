"""Tests of voxrec.service. tests/live/test_daemon.py starts and stops the whole daemon."""

import errno
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.application.service import Application, Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, Logger, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from voxrec import service
from voxrec.config import Calls, Config, parse
from voxrec.errors import ConfigError, StoreUnavailable
from voxrec.log_output import LogOutput
from voxrec.service import DatabaseServer, Voxrec


class FakeReactor(Clock):
    """A reactor that stores what happens at its shutdown."""

    def __init__(self) -> None:
        super().__init__()
        self.stopped = False
        self.triggers: list[tuple[object, ...]] = []

    def addSystemEventTrigger(self, phase: str, event: str, function: Callable[..., Any], *args: Any) -> None:  # noqa: N802
        self.triggers.append((phase, event, function, *args))

    def stop(self) -> None:
        self.stopped = True


class FakeEmbeddedPostgres(Service):
    """An embedded server whose first starts fail with ``errors``."""

    def __init__(self, errors: list[Exception]) -> None:
        self.errors = errors
        self.dsn = "host=embedded"

    def startService(self) -> Deferred[None]:
        if self.errors:
            raise self.errors.pop(0)
        super().startService()
        return succeed(None)


class FakeGateway(Service):
    """A gateway that stores the settings of reloads."""

    def __init__(self) -> None:
        self.applied: list[Config] = []

    def reconfigure(self, config: Config) -> None:
        self.applied.append(config)


class DatabaseServerTests(SynchronousTestCase):
    def test_a_configured_server_is_not_started(self) -> None:
        server = DatabaseServer(FakeReactor(), parse("database: {dsn: 'host=db'}"))
        self.successResultOf(server.startService())
        self.assertEqual(server.dsn, "host=db")
        self.successResultOf(server.stopService())

    def test_the_start_of_the_embedded_server_is_retried_and_logged_once(self) -> None:
        reactor = FakeReactor()
        server = DatabaseServer(reactor, Config())
        server._embedded = FakeEmbeddedPostgres([StoreUnavailable("disk full")] * 2)  # type: ignore[assignment]
        with capturedLogs() as logs:
            starting = server.startService()
            self.assertNoResult(starting)
            reactor.pump([5, 5])
        self.successResultOf(starting)
        self.assertEqual(len(logs), 1)
        self.assertEqual(server.dsn, "host=embedded")


class VoxrecTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.addCleanup(sys.setswitchinterval, sys.getswitchinterval())
        self.patch(service, "freeze_startup_objects", lambda: None)
        self.notified: list[str] = []
        self.patch(service, "sd_notify", self.notified.append)
        self.reactor = FakeReactor()
        self.data_directory = Path(self.mktemp())

    def reload(self, settings: str, gateway: Service) -> str:
        """Start a daemon, let it reload ``settings``, and return the log."""
        self.patch(service, "build_gateway", lambda *_: gateway)
        before = f"data_directory: {self.data_directory}\ndatabase: {{dsn: host=db}}\n"
        daemon = Voxrec(self.reactor, parse(before), lambda: parse(before + settings))
        self.successResultOf(daemon.startService())
        self.patch(service, "sd_notify_reloading", lambda: self.notified.append("RELOADING=1"))
        with capturedLogs() as logs:
            daemon.reload()
        return "\n".join(str(formatEvent(event)) for event in logs)

    def test_a_reload_applies_settings_and_notifies_systemd(self) -> None:
        gateway = FakeGateway()
        log = self.reload("calls: {max_calls: 7}", gateway)
        self.assertEqual([config.calls.max_calls for config in gateway.applied], [7])
        self.assertEqual(self.notified, ["READY=1", "RELOADING=1", "READY=1"])
        self.assertEqual(log, "the settings were reloaded; changed: calls.max_calls")

    def test_invalid_settings_are_not_applied(self) -> None:
        gateway = FakeGateway()
        log = self.reload("calls: {max_calls: -7, nonsense: 1}", gateway)
        self.assertEqual(gateway.applied, [])
        self.assertIn("calls.max_calls: invalid value -7", log)
        self.assertIn("calls.nonsense: unknown field", log)
        self.assertEqual(self.notified, ["READY=1", "RELOADING=1", "READY=1"])

    def test_a_reload_before_the_start_is_complete(self) -> None:
        built: list[Config] = []

        def build(_reactor: object, config: Config, _dsn: str) -> Service:
            built.append(config)
            return Service()

        self.patch(service, "build_gateway", build)
        daemon = Voxrec(
            self.reactor,
            parse("database: {dsn: host=db}"),
            lambda: parse("database: {dsn: host=db}\ncalls: {max_calls: 7}"),
        )
        daemon.reload()
        self.successResultOf(daemon.startService())
        self.assertEqual([config.calls.max_calls for config in built], [7])
        self.assertEqual(self.notified, ["READY=1"])

    def test_twistd_uses_the_log_output_whose_level_is_reloaded(self) -> None:
        output = LogOutput(io.StringIO())
        daemon = Voxrec(self.reactor, Config(), lambda: parse("log: {level: debug}"), output)
        application = Application("voxrec")
        daemon.setServiceParent(application)
        self.assertIs(application.getComponent(ILogObserver), output)
        log = Logger(observer=output)
        log.debug("before")
        daemon.reload()
        log.debug("after")
        self.assertIn("after", output._stream.getvalue())  # type: ignore[attr-defined]
        self.assertNotIn("before", output._stream.getvalue())  # type: ignore[attr-defined]

    def daemon(self, build_gateway: Callable[..., Service], **archive: str) -> Voxrec:
        self.patch(service, "build_gateway", build_gateway)
        settings = {"data_directory": str(self.data_directory), "database": {"dsn": "host=db"}, "archive": archive}
        return Voxrec(self.reactor, parse(str(settings)))

    def test_systemd_is_notified_of_start_and_stop(self) -> None:
        gateway = Service()
        daemon = self.daemon(lambda *_: gateway)
        self.successResultOf(daemon.startService())
        self.assertEqual((bool(gateway.running), self.notified), (True, ["READY=1"]))
        self.successResultOf(daemon.stopService())
        self.assertEqual((bool(gateway.running), self.notified), (False, ["READY=1", "STOPPING=1"]))

    def test_systemd_waits_for_calls_that_end_before_the_stop(self) -> None:
        daemon = self.daemon(lambda *_: Service())
        daemon._reconfigure(Config(calls=Calls(on_stop="end", grace=600.0)))
        self.successResultOf(daemon.stopService())
        self.assertEqual(self.notified, ["STOPPING=1\nEXTEND_TIMEOUT_USEC=660000000"])

    def test_the_watchdog_is_served_by_the_reactor_also_while_the_services_stop(self) -> None:
        class Draining(Service):
            def stopService(self) -> Deferred[None]:
                return Deferred()

        self.patch(service, "watchdog_interval", lambda: 15.0)
        daemon = self.daemon(lambda *_: Draining())
        self.successResultOf(daemon.startService())
        self.reactor.pump([15, 15])
        self.assertEqual(self.notified.count("WATCHDOG=1"), 3)
        self.assertNoResult(daemon.stopService())
        self.reactor.advance(15)
        self.assertEqual(self.notified.count("WATCHDOG=1"), 4)

    def test_an_error_that_cannot_be_resolved_stops_the_process_with_78(self) -> None:
        def fail(*_: object) -> Service:
            raise ConfigError("another process uses the directory")

        with capturedLogs() as logs:
            self.daemon(fail).startService()
        self.assertIn("another process uses the directory", str(logs[-1]["error"]))
        self.assertTrue(self.reactor.stopped)
        self.assertEqual(self.reactor.triggers, [("after", "shutdown", os._exit, os.EX_CONFIG)])

    def test_the_data_directory_and_its_archive_are_created(self) -> None:
        self.daemon(lambda *_: Service()).privilegedStartService()
        self.assertTrue((self.data_directory / "archive").is_dir())

    def test_the_modes_of_directories_do_not_depend_on_the_umask(self) -> None:
        self.addCleanup(os.umask, os.umask(0o022))
        for umask in (0o000, 0o027, 0o077):
            os.umask(umask)
            directory = Path(self.mktemp(), "lib", "voxrec")
            Voxrec(self.reactor, Config(data_directory=str(directory))).privilegedStartService()
            modes = {
                path.name: f"{path.stat().st_mode & 0o7777:o}"
                for path in (directory.parent, directory, directory / "archive")
            }
            self.assertEqual(modes, {"lib": "755", "voxrec": "755", "archive": "750"})

    def test_an_unusable_data_directory_ends_the_process_with_78_and_a_message(self) -> None:
        self.data_directory.write_text("a file")
        readonly = Path("/proc/voxrec")  # not even root can create it
        for directory in (self.data_directory, self.data_directory / "below", readonly):
            daemon = Voxrec(self.reactor, Config(data_directory=str(directory)))
            with capturedLogs() as logs:
                ended = self.assertRaises(SystemExit, daemon.privilegedStartService)
            self.assertEqual(ended.code, os.EX_CONFIG)
            self.assertEqual(logs[-1]["directory"], directory)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_after_a_full_or_read_only_file_system_systemd_restarts_the_process(self) -> None:
        for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            error = OSError(number, os.strerror(number), str(self.data_directory))

            def fail(*_: object, error: OSError = error) -> Service:
                raise error

            self.patch(service, "make_directory", fail)
            daemon = self.daemon(fail)
            with capturedLogs() as logs:
                ended = self.assertRaises(SystemExit, daemon.privilegedStartService)
                daemon.startService()
            self.assertEqual(ended.code, os.EX_TEMPFAIL)
            self.assertEqual(logs[0]["reason"], os.strerror(number))
            self.assertEqual(self.reactor.triggers.pop(), ("after", "shutdown", os._exit, os.EX_TEMPFAIL))

    def test_an_error_of_the_operating_system_at_the_start_is_a_message_without_a_traceback(self) -> None:
        def fail(*_: object) -> Service:
            raise PermissionError(13, "Permission denied", "/var/lib/voxrec/journal")

        with capturedLogs() as logs:
            self.daemon(fail).startService()
        self.assertIn("/var/lib/voxrec/journal", str(logs[-1]["error"]))
        self.assertEqual(self.reactor.triggers, [("after", "shutdown", os._exit, os.EX_CONFIG)])

    def test_a_configured_archive_is_not_created(self) -> None:
        archive = self.data_directory / "mount"
        self.daemon(lambda *_: Service(), directory=str(archive)).privilegedStartService()
        self.assertEqual(list(self.data_directory.iterdir()), [])
