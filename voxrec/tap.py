"""The ``twistd voxrec`` plugin: reads the settings and builds the service tree."""

import os
import sys
from pathlib import Path

from twisted.application.service import IService
from twisted.python import usage

from voxrec import config
from voxrec.errors import ConfigError


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
    """Build the service tree; twistd starts it."""
    from twisted.internet import reactor

    from voxrec.service import Voxrec

    return Voxrec(reactor, options.settings)
