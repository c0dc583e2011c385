"""Fixtures: real mail servers that return what they cannot deliver, from Debian's packages in a root file system."""

import re
import socket
from pathlib import Path
from typing import Final

from twisted.internet.interfaces import IReactorTime

from voxrec.sandbox.asterisk import free_port
from voxrec.sandbox.namespaces import MountNamespace
from voxrec.sandbox.process import Process, wait_until
from voxrec.sandbox.rootfs import Recipe, ensure_rootfs

_START_SECONDS: Final = 30.0


class MailServer:
    """A mail server on ``port`` of loopback. Only root can start it, since it changes its account.

    ``directory`` belongs to it, and is /mnt in its root file system.
    """

    def __init__(self, directory: Path, recipe: Recipe) -> None:
        self.directory = directory.absolute()
        self.rootfs = ensure_rootfs(recipe, print)
        self.port = free_port(socket.SOCK_STREAM)
        self._namespace = MountNamespace(self.rootfs, self.directory)
        self._process: Process | None = None

    def account(self, name: str) -> tuple[int, int]:
        """Return the user id and the group id of an account that the package has created."""
        match = re.search(rf"(?m)^{name}:[^:]*:(\d+):(\d+):", (self.rootfs / "etc" / "passwd").read_text())
        assert match is not None, f"the package creates the account {name}"
        return int(match[1]), int(match[2])

    def configure(self) -> list[str]:
        """Write the configuration, and return the command that starts the server in the foreground."""
        raise NotImplementedError

    async def start(self, reactor: IReactorTime) -> None:
        """Start the server, and wait until it listens."""
        self._namespace.prepare()
        command = self._namespace.command(self.configure(), own_processes=True)
        self._process = process = Process(command, self.directory / "server.log")
        listening = await wait_until(reactor, lambda: not process.running or self.listens(), _START_SECONDS)
        assert listening, self.log_tail()
        assert process.running, self.log_tail()

    def listens(self) -> bool:
        """Return whether it, or one of its processes, accepts connections."""
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0

    def log_tail(self) -> str:
        """Return the end of what it has logged."""
        return "" if self._process is None else "\n".join(self._process.log_tail(60).splitlines())

    def kill(self) -> None:
        """Kill all its processes."""
        if self._process is not None:
            self._process.kill()
