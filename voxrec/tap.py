"""What ``twistd voxrec`` runs: read the settings, build the service tree, do nothing yet."""

import os
import sys
from pathlib import Path

from twisted.application.service import IService
from twisted.python import usage

from voxrec import config
from voxrec.errors import ConfigError


class Options(usage.Options):
    """The command line of ``twistd voxrec``."""

    synopsis = "[options]"
    optParameters = [["config", "c", "/etc/voxrec/voxrec.yaml", "The file with the settings."]]  # noqa: RUF012 - Twisted's own form
    settings: config.Config

    def postOptions(self) -> None:
        """Read the settings now: bad ones end the start at once, with the status that systemd does not start again."""
        try:
            self.settings = config.load(Path(self["config"]))
        except ConfigError as error:
            sys.stderr.write(f"voxrec: {error}\n")
            raise SystemExit(os.EX_CONFIG) from error


def makeService(options: Options) -> IService:
    """Build the tree."""
    from twisted.internet import reactor

    from voxrec.service import Voxrec

    return Voxrec(reactor, options.settings)
