"""The ``twistd voxrec`` plugin: reads the settings, builds the service tree, and installs the log and SIGHUP."""

import os
import signal
import sys
from collections.abc import Mapping
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from typing import Any, cast

from twisted.application.service import IService
from twisted.python import usage

from voxrec import config
from voxrec.clock import use_monotonic_timers
from voxrec.errors import ConfigError
from voxrec.interpreter_tuning import garbage_collection_paused
from voxrec.log_file import LogFile
from voxrec.log_output import LogOutput, is_journal

_DAEMON_LOG_FILE = "twistd.log"  # twistd's default


class Options(usage.Options):
    """The command line options of ``twistd voxrec``."""

    synopsis = "[options]"
    optParameters = [["config", "c", "/etc/voxrec/voxrec.yaml", "Path of the settings file."]]  # noqa: RUF012 - Twisted's own form
    settings: config.Config

    def postOptions(self) -> None:
        """Read the settings.

        If they are invalid, the process exits with status 78 (EX_CONFIG), with which systemd does not restart it.
        """
        try:
            self.settings = config.load(Path(self["config"]))
        except ConfigError as error:
            sys.stderr.write(f"voxrec: {error}\n")
            raise SystemExit(os.EX_CONFIG) from error


def makeService(options: Options) -> IService:
    """Build the service tree; twistd starts it. SIGHUP reloads the settings from now on."""
    from twisted.internet import reactor

    with garbage_collection_paused():
        from voxrec.service import Voxrec

    use_monotonic_timers(reactor)
    # twistd changes the working directory later
    load_config = partial(config.load, Path(options["config"]).absolute())
    log_output = _build_log_output(options.settings.log, options.parent or {}, options.settings.node_name)
    daemon = Voxrec(reactor, options.settings, load_config, log_output)
    # Without a handler, SIGHUP ends the process. A signal that arrives before the reactor runs is handled when it does.
    signal.signal(signal.SIGHUP, lambda *_: reactor.callFromThread(daemon.reload))  # type: ignore[attr-defined]
    return daemon


def _build_log_output(settings: config.Log, twistd_options: Mapping[str, Any], node: str) -> LogOutput | None:
    """Return the log output for twistd's options, or None if they select another log observer (--syslog, --logger)."""
    if twistd_options.get("syslog") or twistd_options.get("logger"):
        return None
    file = twistd_options.get("logfile") or ""
    in_foreground = twistd_options.get("nodaemon") or twistd_options.get("debug")
    if file == "-" or (in_foreground and not file):
        # names of files, and what callers send, may contain bytes that are not UTF-8
        cast("TextIOWrapper", sys.stdout).reconfigure(errors="backslashreplace")
        return LogOutput(
            sys.stdout, level=settings.level, log_format=settings.format, journal=is_journal(sys.stdout), node=node
        )
    log_file = LogFile(Path(file or _DAEMON_LOG_FILE))
    _reopen_on_sigusr1(log_file)
    return LogOutput(log_file, level=settings.level, log_format=settings.format, node=node)


def _reopen_on_sigusr1(log_file: LogFile) -> None:
    """Open the file again when SIGUSR1 arrives, after logrotate has renamed it."""
    from twisted.internet import reactor

    signal.signal(signal.SIGUSR1, lambda *_: reactor.callFromThread(log_file.reopen))  # type: ignore[attr-defined]
