"""Several nodes behind Kamailio, with PostgreSQL and its standby, one archive and one mailbox."""

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final
from urllib.parse import urlsplit

from psycopg2.extensions import make_dsn
from twisted.internet.threads import deferToThread

from voxrec.sandbox.asterisk import LOOPBACK, free_port
from voxrec.sandbox.chaos.environment import READY_SECONDS, Environment
from voxrec.sandbox.chaos.fault_run import SETTINGS
from voxrec.sandbox.chaos.outages import Outage
from voxrec.sandbox.errors import SandboxError
from voxrec.sandbox.kamailio import SandboxKamailio
from voxrec.sandbox.mailbox import Mailbox
from voxrec.sandbox.replication import ReplicatedPostgres
from voxrec.sandbox.stack import Stack
from voxrec.sandbox.tcp_proxy import TcpProxy

NODE_NAMES: Final = ("berlin", "munich", "hamburg")


class Node:
    """One node: Asterisk and voxrec, with proxies of its own to AMI and to both servers of PostgreSQL."""

    def __init__(
        self,
        reactor: Any,
        directory: Path,
        rootfs: Path | None,
        name: str,
        postgres: ReplicatedPostgres,
        archive: Path,
        mail_port: int,
    ) -> None:
        self.name = name
        self._reactor = reactor
        self.database_proxies = [TcpProxy(port) for port in postgres.ports]
        self._database_ports = [free_port(socket.SOCK_STREAM) for _ in self.database_proxies]
        self.ami_port = free_port(socket.SOCK_STREAM)
        ports = ",".join(map(str, self._database_ports))
        settings: Mapping[str, Mapping[str, Any]] = {
            **SETTINGS,
            "database": {"dsn": str(make_dsn(postgres.dsn(), port=ports))},
            "archive": {"directory": str(archive)},
            "asterisk": {"ami_url": f"tcp://{LOOPBACK}:{self.ami_port}"},
            "node": {"name": name},
        }
        self.stack = Stack(reactor, directory / name, rootfs, settings, mail_port=mail_port)
        self.ami_proxy = TcpProxy(urlsplit(self.stack.asterisk.ami_url).port or 0)

    def connect_database(self) -> None:
        """Let the node reach PostgreSQL."""
        for proxy, port in zip(self.database_proxies, self._database_ports, strict=True):
            proxy.listen(self._reactor, port)

    async def separate_from_database(self) -> None:
        """Drop the connections to PostgreSQL, and refuse new ones."""
        for proxy in self.database_proxies:
            await proxy.stop()

    async def start(self) -> None:
        """Start the node and wait until it is ready."""
        self.connect_database()
        self.ami_proxy.listen(self._reactor, self.ami_port)
        await self.stack.start()

    async def stop(self) -> None:
        """Stop the node."""
        await self.stack.stop()
        await self.separate_from_database()
        await self.ami_proxy.stop()

    async def wait_until_ready(self) -> None:
        """Wait until voxrec is ready. Raises SandboxError after 120 s."""

        async def ready() -> bool:
            return await self.stack.readiness_status() == 200

        if not await self.stack.wait_until(ready, READY_SECONDS):
            raise SandboxError(
                f"node {self.name} is not ready {READY_SECONDS:g} s after a fault:\n{self.stack.voxrec_log_tail()}"
            )


@dataclass
class ClusterEnvironment:
    """The programs into which faults are injected. ``random`` chooses the nodes.

    ``affected`` is the node of a fault by its kind, while it lasts.
    """

    reactor: Any
    nodes: Sequence[Node]
    kamailio: SandboxKamailio
    postgres: ReplicatedPostgres
    mailbox: Mailbox
    random: Random
    outages: list[Outage]
    affected: dict[str, Node] = field(default_factory=dict)

    def choose_node(self, fault: str) -> Node:
        """Choose the node that a fault affects from now on."""
        self.affected[fault] = self.random.choice(self.nodes)
        return self.affected[fault]

    def other_node(self, node: Node) -> Node:
        """Return another node, through which ``node`` is controlled."""
        return next(each for each in self.nodes if each is not node)

    def of_node(self, node: Node) -> Environment:
        """Return a node as the environment of a fault of one voxrec."""
        return Environment(
            self.reactor,
            node.stack,
            self.postgres.primary,
            Path(),
            self.mailbox,
            self.mailbox.port,
            node.ami_proxy,
            node.ami_port,
            self.outages,
        )

    async def fail_over(self) -> None:
        """Kill the primary and promote the standby."""
        await deferToThread(self.postgres.fail_over)
