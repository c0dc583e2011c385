"""A run of steady calls with scheduled faults, the wait until all work is done, and the verification."""

import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.parser import BytesHeaderParser
from math import ceil
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from twisted.internet.defer import Deferred, DeferredLock, gatherResults
from twisted.internet.task import deferLater

from voxrec.errors import VoxrecError
from voxrec.model import RECORDING_STARTED
from voxrec.sandbox.chaos.environment import Fault
from voxrec.sandbox.chaos.inspection import asterisk_leftovers, read_metrics
from voxrec.sandbox.chaos.outages import AllowedEffects, Outage
from voxrec.sandbox.chaos.phones import CalleePhones, CallerPhones, parse_call_logs
from voxrec.sandbox.chaos.schedule import ScheduledFault, plan_calls, plan_faults
from voxrec.sandbox.chaos.tone_detection import tone_seconds_by_side
from voxrec.sandbox.chaos.verification import FoundRecording, Report, Verification
from voxrec.sandbox.console import ReportProgress
from voxrec.sandbox.mailbox import Mailbox
from voxrec.sandbox.stack import Stack

SETTLE_SECONDS: Final = 240.0
MAIL_ADDRESS: Final = "records@example.test"
MIN_CALL_SECONDS, MAX_CALL_SECONDS = 3.0, 15.0
SETTINGS: Final[Mapping[str, Mapping[str, Any]]] = {
    # As many attempts as by default, but with short delays, so that a run does not wait an hour for the last one.
    "queue": {"retry_first": 1, "retry_limit": 10, "lease": 30},
    "mail": {"timeout": 10, "unconfirmed_attempts": 10, "unconfirmed_retry": 1},
}
_PENDING_METRICS: Final = (
    "voxrec_jobs_waiting",
    "voxrec_jobs_dead",
    "voxrec_jobs_unconfirmed",
    "voxrec_calls_live",
    "voxrec_journal_pending",
    "voxrec_recordings{",
)


@dataclass(frozen=True)
class RunOptions:
    """Parameters of a run: for ``duration`` seconds, ``rate`` calls per second start, and ``faults`` are injected."""

    seed: int
    duration: float
    faults: Sequence[Fault[Any]]
    rate: float = 1.0
    min_call_seconds: float = MIN_CALL_SECONDS
    max_call_seconds: float = MAX_CALL_SECONDS

    @property
    def scheduled_faults(self) -> list[ScheduledFault]:
        """The schedule of the faults."""
        return plan_faults(self.seed, self.duration, [fault.kind for fault in self.faults])


EnvironmentT = TypeVar("EnvironmentT")


class FaultRun(ABC, Generic[EnvironmentT]):
    """A run in ``directory``, which other users must be able to enter. `stop` stops everything that was started.

    A subclass starts and stops the programs into which faults are injected, with a mailbox for their mails.
    """

    allowed_effects: AllowedEffects

    def __init__(
        self,
        reactor: Any,
        directory: Path,
        rootfs: Path | None,
        options: RunOptions,
        report_progress: ReportProgress,
    ) -> None:
        self.reactor = reactor
        self.directory = directory
        self.rootfs = rootfs
        self.options = options
        self.report_progress = report_progress
        self.outages: list[Outage] = []
        self.mailbox = Mailbox(directory / "mailbox")
        self.mailbox.listen(reactor)
        self._faults = {fault.kind.name: fault for fault in options.faults}
        self._component_locks = {fault.kind.component: DeferredLock() for fault in options.faults}
        self._violations: list[str] = []
        self._began = time.time()
        self._callees = CalleePhones(reactor, directory / "callees", rootfs)
        self._callers: CallerPhones | None = None

    # What a subclass defines.

    @abstractmethod
    async def start_environment(self) -> EnvironmentT:
        """Start everything, and return it when it is ready for calls."""

    @abstractmethod
    async def stop_environment(self) -> None:
        """Stop what was started."""

    @property
    @abstractmethod
    def stacks(self) -> Sequence[Stack]:
        """The stacks, all with the same PostgreSQL and archive."""

    @property
    def archive_directory(self) -> Path:
        """The archive of all stacks."""
        return self.stacks[0].archive_directory

    @property
    @abstractmethod
    def sip_address(self) -> tuple[str, int]:
        """Where calls are placed: host and port."""

    @abstractmethod
    async def wait_until_recovered(self, environment: EnvironmentT, fault: Fault[EnvironmentT]) -> None:
        """Wait until what a fault affected is ready again. Raises SandboxError if it is not in time."""

    def affected_node(self, _environment: EnvironmentT, _fault: Fault[EnvironmentT]) -> str:
        """Return the node that an injected fault affects; empty: all, or there is only one."""
        return ""

    # The run.

    async def run(self) -> Report:
        """Place the calls, inject the faults, wait until all work is done, and verify the results."""
        environment = await self.start_environment()
        await self._callees.start()
        profile = await self.stacks[0].request_json(
            "PUT",
            "/profiles",
            {"remoteSipUri": self._callees.uri, "record": True, "recordChannels": "dual", "email": MAIL_ADDRESS},
        )
        options = self.options
        count = ceil(options.duration * options.rate)
        self._callers = CallerPhones(
            self.reactor,
            self.directory / "callers",
            self.rootfs,
            self.sip_address,
            profile["id"],
            plan_calls(options.seed, count, options.min_call_seconds, options.max_call_seconds),
            options.rate,
        )
        self._began = time.time()
        self._callers.start()
        schedule = options.scheduled_faults
        self.report_progress(f"{count} calls in {options.duration:g} s, {len(schedule)} faults")
        faults = [Deferred.fromCoroutine(self._inject_when_due(environment, scheduled)) for scheduled in schedule]
        await gatherResults([*faults, Deferred.fromCoroutine(self._callers.finish())], consumeErrors=True)
        await self._settle()
        return await self._verify()

    async def stop(self) -> None:
        """Stop all processes."""
        if self._callers is not None:
            await self._callers.stop()
        await self._callees.stop()
        await self.stop_environment()
        await self.mailbox.stop()

    # Faults.

    async def _inject_when_due(self, environment: EnvironmentT, scheduled: ScheduledFault) -> None:
        await deferLater(self.reactor, max(0.0, scheduled.at - (time.time() - self._began)))
        fault = self._faults[scheduled.fault]
        # One fault per component at a time: an orderly stop may take longer than scheduled.
        async with _holding(self._component_locks[fault.kind.component]):
            await self._inject(environment, scheduled, fault)

    async def _inject(self, environment: EnvironmentT, scheduled: ScheduledFault, fault: Fault[EnvironmentT]) -> None:
        began = time.time()
        self.report_progress(
            f"{began - self._began:6.1f} s  {scheduled.fault}: fault injected for {scheduled.seconds:.1f} s"
        )
        try:
            try:
                await fault.inject(environment)
                await deferLater(self.reactor, scheduled.seconds)
            finally:
                await fault.recover(environment)
            await self.wait_until_recovered(environment, fault)
        except VoxrecError as error:
            self._violations.append(f"{scheduled.fault} at {scheduled.at:.1f} s: {error.detail}")
        node = self.affected_node(environment, fault)
        self.outages.append(Outage(scheduled.fault, began, time.time(), node))
        self.report_progress(f"{time.time() - self._began:6.1f} s  {scheduled.fault} {node}: recovered")

    # Waiting for the end of all work.

    async def _settle(self) -> None:
        self.report_progress("all calls are over; waiting until all jobs are done")
        began, pending = self.reactor.seconds(), [""]

        async def settled() -> bool:
            pending[:] = [item for stack in self.stacks for item in await self._pending_work(stack)]
            return not pending

        if await self.stacks[0].wait_until(settled, SETTLE_SECONDS):
            self.report_progress(f"all jobs were done after {self.reactor.seconds() - began:.1f} s")
        else:
            self._violations += [f"after {SETTLE_SECONDS:g} s: {item}" for item in pending]

    async def _pending_work(self, stack: Stack) -> list[str]:
        """Return what a voxrec still has to do, and what it has left in Asterisk."""
        if await stack.readiness_status() != 200:
            return ["voxrec is not ready"]
        metrics = await read_metrics(stack)
        pending = {
            name: value
            for name, value in metrics.items()
            if value and name.startswith(_PENDING_METRICS) and "state=failed" not in name
        }
        # Files of failed Recordings are kept for manual inspection.
        failed = await stack.request_json("GET", "/recordings?state=failed")
        leftovers = [
            item
            for item in await asterisk_leftovers(stack, self.reactor)
            if not any(recording["id"] in item for recording in failed)
        ]
        return [*(f"{name} is {value:g}" for name, value in pending.items()), *leftovers]

    # Verification.

    async def _verify(self) -> Report:
        assert self._callers is not None, "run() has placed the calls"
        recordings = await self.stacks[0].request_json("GET", "/recordings")
        mails, mailed_at = self._count_mails()
        stored = await self.download_audio([each for each in recordings if each["state"] == "completed"])
        return Verification(
            began=self._began,
            calls=parse_call_logs(self._callers.log, self._callees.log),
            recordings=[_find_recording(self.audio_file(each["id"]), each) for each in recordings],
            mails=mails,
            outages=sorted(self.outages, key=lambda outage: outage.begin),
            allowed_effects=self.allowed_effects,
            mailed_at=mailed_at,
            other_violations=self._violations,
            nodes=self.node_names(),
            stored=stored,
        ).report()

    async def download_audio(self, _recordings: Sequence[Mapping[str, Any]]) -> Mapping[str, str] | None:
        """Download the audio of Recordings from an S3 store, and return what is wrong with each object by the id.

        Empty: nothing. None: there is no store.
        """
        return None

    def audio_file(self, recording_id: str) -> Path | None:
        """Return the file with the audio of a Recording; None if there is none."""
        return next(self.archive_directory.glob(f"[0-9]*/[0-9]*/[0-9]*/{recording_id}.*"), None)

    def node_names(self) -> Mapping[int, str]:
        """Return the names of the nodes by the SIP port of their Asterisk; empty if there is only one."""
        return {}

    def _count_mails(self) -> tuple[Counter[str], dict[str, list[float]]]:
        """Return the number of mails with each Recording, and their times of arrival."""
        counts: Counter[str] = Counter()
        times: dict[str, list[float]] = {}
        for path in self.mailbox.paths():
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


def _find_recording(path: Path | None, recording: Mapping[str, Any]) -> FoundRecording:
    caller, callee = (0.0, 0.0) if path is None else tone_seconds_by_side(path)
    unrecorded = _unrecorded_seconds(recording["timeline"])
    return FoundRecording(recording["id"], recording.get("from") or "", recording["state"], caller, callee, unrecorded)


def _unrecorded_seconds(timeline: Sequence[Mapping[str, Any]]) -> float:
    """Return the seconds from the answer during which both sides were not recorded, as the timeline says."""
    if not any(entry["event"] == "recording.failed" and "by" not in entry for entry in timeline):
        return 0.0
    return min((entry["at"] for entry in timeline if entry["event"] == RECORDING_STARTED), default=float("inf"))
