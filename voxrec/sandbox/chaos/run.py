"""One chaos run: steady calls, the scheduled faults, the wait until all work is done, and the verification."""

import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.parser import BytesHeaderParser
from math import ceil
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred, DeferredLock, gatherResults
from twisted.internet.task import deferLater

from voxrec.errors import VoxrecError
from voxrec.model import RECORDING_STARTED
from voxrec.postgres.cluster import Cluster
from voxrec.sandbox.asterisk import LOOPBACK, free_port
from voxrec.sandbox.chaos.environment import Environment, Fault
from voxrec.sandbox.chaos.faults import ALLOWED_EFFECTS, DiskFull, mount_tmpfs
from voxrec.sandbox.chaos.inspection import asterisk_leftovers, read_metrics
from voxrec.sandbox.chaos.phones import CalleePhones, CallerPhones, parse_call_logs
from voxrec.sandbox.chaos.schedule import ScheduledFault, plan_calls, plan_faults
from voxrec.sandbox.chaos.tone_detection import tone_seconds_by_side
from voxrec.sandbox.chaos.verification import FoundRecording, Outage, Report, Verification
from voxrec.sandbox.console import ReportProgress
from voxrec.sandbox.mailbox import Mailbox
from voxrec.sandbox.postgres_account import prepare_postgres_directory
from voxrec.sandbox.stack import Stack
from voxrec.sandbox.tcp_proxy import TcpProxy

SETTLE_SECONDS: Final = 240.0
MAIL_ADDRESS: Final = "records@example.test"
MIN_CALL_SECONDS, MAX_CALL_SECONDS = 3.0, 15.0
SETTINGS: Final[Mapping[str, Mapping[str, Any]]] = {
    # As many attempts as by default, but with short delays, so that a run does not wait an hour for the last one.
    "queue": {"retry_first": 1, "retry_limit": 10, "lease": 30},
    "mail": {"timeout": 10},
}
_PENDING_METRICS: Final = (
    "voxrec_jobs_waiting",
    "voxrec_jobs_dead",
    "voxrec_calls_live",
    "voxrec_journal_pending",
    "voxrec_recordings{",
)


@dataclass(frozen=True)
class RunOptions:
    """Parameters of a run: for ``duration`` seconds, ``rate`` calls per second start, and ``faults`` are injected."""

    seed: int
    duration: float
    faults: Sequence[Fault]
    rate: float = 1.0
    min_call_seconds: float = MIN_CALL_SECONDS
    max_call_seconds: float = MAX_CALL_SECONDS

    @property
    def has_full_disks(self) -> bool:
        """Whether the recording directory and the archive need file systems of their own."""
        return any(isinstance(fault, DiskFull) for fault in self.faults)

    @property
    def scheduled_faults(self) -> list[ScheduledFault]:
        """The schedule of the faults."""
        return plan_faults(self.seed, self.duration, [fault.kind for fault in self.faults])


class ChaosRun:
    """A run in ``directory``, which other users must be able to enter. `stop` stops everything that was started."""

    def __init__(
        self,
        reactor: Any,
        directory: Path,
        rootfs: Path | None,
        options: RunOptions,
        report_progress: ReportProgress,
    ) -> None:
        self._reactor = reactor
        self._directory = directory
        self._rootfs = rootfs
        self._options = options
        self._report_progress = report_progress
        self._faults = {fault.kind.name: fault for fault in options.faults}
        self._component_locks = {fault.kind.component: DeferredLock() for fault in options.faults}
        self._outages: list[Outage] = []
        self._violations: list[str] = []
        self._began = time.time()
        mailbox = Mailbox(directory / "mailbox")
        mailbox.listen(reactor)
        prepare_postgres_directory(directory / "postgresql")
        cluster = Cluster(directory / "postgresql")
        self._callees = CalleePhones(reactor, directory / "callees", rootfs)
        self._callers: CallerPhones | None = None
        self._stack: Stack | None = None
        self._ami_proxy: TcpProxy | None = None
        self._mailbox = mailbox
        self._cluster = cluster

    async def run(self) -> Report:
        """Place the calls, inject the faults, wait until all work is done, and verify the results."""
        environment = await self._start_environment()
        profile = await environment.stack.request_json(
            "PUT",
            "/profiles",
            {"remoteSipUri": self._callees.uri, "record": True, "recordChannels": "dual", "email": MAIL_ADDRESS},
        )
        options = self._options
        count = ceil(options.duration * options.rate)
        self._callers = CallerPhones(
            self._reactor,
            self._directory / "callers",
            self._rootfs,
            environment.stack.asterisk.sip_address,
            profile["id"],
            plan_calls(options.seed, count, options.min_call_seconds, options.max_call_seconds),
            options.rate,
        )
        self._began = time.time()
        self._callers.start()
        schedule = options.scheduled_faults
        self._report_progress(f"{count} calls in {options.duration:g} s, {len(schedule)} faults")
        faults = [Deferred.fromCoroutine(self._inject_when_due(environment, scheduled)) for scheduled in schedule]
        await gatherResults([*faults, Deferred.fromCoroutine(self._callers.finish())], consumeErrors=True)
        await self._settle(environment)
        return await self._verify(environment)

    async def stop(self) -> None:
        """Stop all processes."""
        if self._callers is not None:
            await self._callers.stop()
        await self._callees.stop()
        if self._stack is not None:
            await self._stack.stop()
        if self._ami_proxy is not None:
            await self._ami_proxy.stop()
        await self._mailbox.stop()
        self._cluster.stop()

    async def _start_environment(self) -> Environment:
        directory, reactor = self._directory, self._reactor
        ami_port = free_port(socket.SOCK_STREAM)
        settings = {
            **SETTINGS,
            "database": {"dsn": self._cluster.dsn()},
            "asterisk": {"ami_url": f"tcp://{LOOPBACK}:{ami_port}"},
        }
        mail_port = self._mailbox.port
        self._stack = stack = Stack(reactor, directory / "stack", self._rootfs, settings, mail_port=mail_port)
        self._ami_proxy = proxy = TcpProxy(urlsplit(stack.asterisk.ami_url).port or 0)
        proxy.listen(reactor, ami_port)
        environment = Environment(
            reactor,
            stack,
            self._cluster,
            directory / "postgresql",
            self._mailbox,
            mail_port,
            proxy,
            ami_port,
            self._outages,
        )
        if self._options.has_full_disks:
            mount_tmpfs(stack.archive_directory)
            mount_tmpfs(stack.asterisk.recording_directory)
        self._report_progress("starting PostgreSQL")
        await environment.start_database()
        await stack.start(self._report_progress)
        await self._callees.start()
        return environment

    # Faults.

    async def _inject_when_due(self, environment: Environment, scheduled: ScheduledFault) -> None:
        await deferLater(self._reactor, max(0.0, scheduled.at - (time.time() - self._began)))
        fault = self._faults[scheduled.fault]
        # One fault per component at a time: an orderly stop may take longer than scheduled.
        async with _holding(self._component_locks[fault.kind.component]):
            await self._inject(environment, scheduled, fault)

    async def _inject(self, environment: Environment, scheduled: ScheduledFault, fault: Fault) -> None:
        began = time.time()
        self._report_progress(
            f"{began - self._began:6.1f} s  {scheduled.fault}: fault injected for {scheduled.seconds:.1f} s"
        )
        try:
            try:
                await fault.inject(environment)
                await deferLater(self._reactor, scheduled.seconds)
            finally:
                await fault.recover(environment)
            await environment.wait_until_ready()
        except VoxrecError as error:
            self._violations.append(f"{scheduled.fault} at {scheduled.at:.1f} s: {error.detail}")
        self._outages.append(Outage(scheduled.fault, began, time.time()))
        self._report_progress(f"{time.time() - self._began:6.1f} s  {scheduled.fault}: recovered")

    # Waiting for the end of all work.

    async def _settle(self, environment: Environment) -> None:
        self._report_progress("all calls are over; waiting until all jobs are done")
        began, pending = self._reactor.seconds(), [""]

        async def settled() -> bool:
            pending[:] = await self._pending_work(environment)
            return not pending

        if await environment.stack.wait_until(settled, SETTLE_SECONDS):
            self._report_progress(f"all jobs were done after {self._reactor.seconds() - began:.1f} s")
        else:
            self._violations += [f"after {SETTLE_SECONDS:g} s: {item}" for item in pending]

    async def _pending_work(self, environment: Environment) -> list[str]:
        """Return what voxrec still has to do, and what it has left in Asterisk."""
        if await environment.stack.readiness_status() != 200:
            return ["voxrec is not ready"]
        metrics = await read_metrics(environment.stack)
        pending = {
            name: value
            for name, value in metrics.items()
            if value and name.startswith(_PENDING_METRICS) and "state=failed" not in name
        }
        # Files of failed Recordings are kept for manual inspection.
        failed = await environment.stack.request_json("GET", "/recordings?state=failed")
        leftovers = [
            item
            for item in await asterisk_leftovers(environment.stack, environment.reactor)
            if not any(recording["id"] in item for recording in failed)
        ]
        return [*(f"{name} is {value:g}" for name, value in pending.items()), *leftovers]

    # Verification.

    async def _verify(self, environment: Environment) -> Report:
        assert self._callers is not None, "run() has placed the calls"
        recordings = await environment.stack.request_json("GET", "/recordings")
        mails, mailed_at = self._count_mails()
        return Verification(
            began=self._began,
            calls=parse_call_logs(self._callers.log, self._callees.log),
            recordings=[_find_recording(environment.stack, recording) for recording in recordings],
            mails=mails,
            outages=sorted(self._outages, key=lambda outage: outage.begin),
            allowed_effects=ALLOWED_EFFECTS,
            mailed_at=mailed_at,
            other_violations=self._violations,
        ).report()

    def _count_mails(self) -> tuple[Counter[str], dict[str, list[float]]]:
        """Return the number of mails with each Recording, and their times of arrival."""
        counts: Counter[str] = Counter()
        times: dict[str, list[float]] = {}
        for path in self._mailbox.paths():
            with path.open("rb") as mail:
                recording_id = str(BytesHeaderParser().parse(mail)["X-Voxrec-Recording"])
            counts[recording_id] += 1
            times.setdefault(recording_id, []).append(path.stat().st_mtime)
        return counts, times


@asynccontextmanager
async def _holding(lock: DeferredLock) -> AsyncIterator[None]:
    await lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _find_recording(stack: Stack, recording: Mapping[str, Any]) -> FoundRecording:
    paths = list(stack.archive_directory.glob(f"[0-9]*/[0-9]*/[0-9]*/{recording['id']}.*"))
    caller, callee = tone_seconds_by_side(paths[0]) if paths else (0.0, 0.0)
    unrecorded = _unrecorded_seconds(recording["timeline"])
    return FoundRecording(recording["id"], recording.get("from") or "", recording["state"], caller, callee, unrecorded)


def _unrecorded_seconds(timeline: Sequence[Mapping[str, Any]]) -> float:
    """Return the seconds from the answer during which both sides were not recorded, as the timeline says."""
    if not any(entry["event"] == "recording.failed" and "by" not in entry for entry in timeline):
        return 0.0
    return min((entry["at"] for entry in timeline if entry["event"] == RECORDING_STARTED), default=float("inf"))
