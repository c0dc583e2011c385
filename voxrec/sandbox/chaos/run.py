"""One chaos run: the faults of `voxrec.sandbox.chaos.faults`, injected into one voxrec with all that it needs."""

import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from twisted.internet.threads import deferToThread

from voxrec.postgres.cluster import Cluster
from voxrec.sandbox.asterisk import LOOPBACK, free_port
from voxrec.sandbox.chaos.environment import Environment, Fault
from voxrec.sandbox.chaos.fault_run import SETTINGS, FaultRun, RunOptions
from voxrec.sandbox.chaos.faults import ALLOWED_EFFECTS, DiskFull, mount_tmpfs
from voxrec.sandbox.chaos.store import ChaosStore
from voxrec.sandbox.chaos.store_faults import COMPONENT as STORE
from voxrec.sandbox.console import ReportProgress
from voxrec.sandbox.postgres_account import prepare_postgres_directory
from voxrec.sandbox.stack import Stack
from voxrec.sandbox.tcp_proxy import TcpProxy


class ChaosRun(FaultRun[Environment]):
    """A run with one voxrec, in ``directory``, which other users must be able to enter."""

    allowed_effects = ALLOWED_EFFECTS

    def __init__(
        self,
        reactor: Any,
        directory: Path,
        rootfs: Path | None,
        options: RunOptions,
        report_progress: ReportProgress,
    ) -> None:
        super().__init__(reactor, directory, rootfs, options, report_progress)
        prepare_postgres_directory(directory / "postgresql")
        self._cluster = Cluster(directory / "postgresql")
        self._ami_port = free_port(socket.SOCK_STREAM)
        settings: dict[str, Mapping[str, Any]] = {
            **SETTINGS,
            "database": {"dsn": self._cluster.dsn()},
            "asterisk": {"ami_url": f"tcp://{LOOPBACK}:{self._ami_port}"},
        }
        self._store: ChaosStore | None = None
        if any(fault.kind.component == STORE for fault in options.faults):
            self._store = ChaosStore(reactor, directory / "store")
            settings["s3"] = self._store.settings
        self._stack = Stack(reactor, directory / "stack", rootfs, settings, mail_port=self.mailbox.port)
        self._ami_proxy = TcpProxy(urlsplit(self._stack.asterisk.ami_url).port or 0)

    @property
    def stacks(self) -> Sequence[Stack]:
        """The only stack."""
        return [self._stack]

    @property
    def sip_address(self) -> tuple[str, int]:
        """That of Asterisk."""
        return self._stack.asterisk.sip_address

    async def start_environment(self) -> Environment:
        """Start PostgreSQL, Asterisk and voxrec."""
        self._ami_proxy.listen(self.reactor, self._ami_port)
        environment = Environment(
            self.reactor,
            self._stack,
            self._cluster,
            self.directory / "postgresql",
            self.mailbox,
            self.mailbox.port,
            self._ami_proxy,
            self._ami_port,
            self.outages,
            self._store,
        )
        if any(isinstance(fault, DiskFull) for fault in self.options.faults):
            mount_tmpfs(self._stack.archive_directory)
            mount_tmpfs(self._stack.asterisk.recording_directory)
        if self._store is not None:
            self.report_progress("starting the S3 store")
            await self._store.start()
        self.report_progress("starting PostgreSQL")
        await environment.start_database()
        await self._stack.start(self.report_progress)
        return environment

    async def stop_environment(self) -> None:
        """Stop what was started."""
        await self._stack.stop()
        await self._ami_proxy.stop()
        if self._store is not None:
            await self._store.stop()
        self._cluster.stop()

    async def download_audio(self, recordings: Sequence[Mapping[str, Any]]) -> Mapping[str, str] | None:
        """Download what is in the store to the directory in which `audio_file` looks."""
        if self._store is None:
            return None
        return await deferToThread(self._store.download, recordings, self._downloads)

    def audio_file(self, recording_id: str) -> Path | None:
        """Return the file in the archive, or the one from the store."""
        return super().audio_file(recording_id) or next(self._downloads.glob(f"{recording_id}.*"), None)

    @property
    def _downloads(self) -> Path:
        return self.directory / "downloads"

    async def wait_until_recovered(self, environment: Environment, _fault: Fault[Environment]) -> None:
        """Wait until voxrec is ready."""
        await environment.wait_until_ready()
