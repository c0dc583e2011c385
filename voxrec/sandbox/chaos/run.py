"""One run: the sandbox with steady calls, the planned faults, the settling, and the books."""

import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.parser import BytesHeaderParser
from math import ceil
from pathlib import Path
from typing import Any, Final

from prometheus_client.parser import text_string_to_metric_families
from treq.client import HTTPClient
from twisted.internet.defer import Deferred, DeferredLock, gatherResults
from twisted.internet.task import deferLater
from twisted.web.client import Agent, HTTPConnectionPool

from voxrec.ari.client import AriClient
from voxrec.ari.transport import HttpTransport
from voxrec.errors import VoxrecError
from voxrec.postgres.embedded import Cluster
from voxrec.sandbox.chaos.faults import EXCUSES, DiskFull, Fault, Rig, give_room
from voxrec.sandbox.chaos.ledger import Found, Judgement, Ledger, Outage
from voxrec.sandbox.chaos.phones import Callers, Desks, witnessed
from voxrec.sandbox.chaos.schedule import Strike, plan_calls, plan_faults
from voxrec.sandbox.chaos.tone_detection import sides
from voxrec.sandbox.errors import SandboxError
from voxrec.sandbox.mailbox import Mailbox
from voxrec.sandbox.stack import Stack

SETTLE_SECONDS: Final = 240.0
MAILBOX: Final = "records@example.test"
SHORTEST, LONGEST = 3.0, 15.0
"""Seconds that the callers talk."""
SETTINGS: Final[Mapping[str, Mapping[str, Any]]] = {
    # every try is made as by default, only sooner: a run must not wait an hour for the last one
    "queue": {"retry_first": 1, "retry_limit": 10, "lease": 30},
    "mail": {"timeout": 10},
}

Say = Callable[[str], None]


@dataclass(frozen=True)
class Order:
    """What is to be run: for how many seconds calls come in, ``rate`` a second, and which faults strike meanwhile."""

    seed: int
    duration: float
    faults: Sequence[Fault]
    rate: float = 1.0
    shortest: float = SHORTEST
    longest: float = LONGEST

    @property
    def disks(self) -> bool:
        """Whether the recording directory and the archive need file systems of their own."""
        return any(isinstance(fault, DiskFull) for fault in self.faults)

    @property
    def strikes(self) -> list[Strike]:
        """The plan of faults."""
        return plan_faults(self.seed, self.duration, [fault.kind for fault in self.faults])


class Run:
    """A run in ``directory``, which other users must be able to enter; what was started is stopped by `stop`."""

    def __init__(self, reactor: Any, directory: Path, rootfs: Path | None, order: Order, say: Say) -> None:
        self._reactor = reactor
        self._directory = directory
        self._rootfs = rootfs
        self._order = order
        self._say = say
        self._faults = {fault.kind.name: fault for fault in order.faults}
        self._parts = {fault.kind.part: DeferredLock() for fault in order.faults}
        self._outages: list[Outage] = []
        self._broken: list[str] = []
        self._began = time.time()
        mailbox = Mailbox(directory / "mailbox")
        mailbox.listen(reactor)
        cluster = Cluster(directory / "postgresql")
        self._desks = Desks(reactor, directory / "desks", rootfs)
        self._callers: Callers | None = None
        self._stack: Stack | None = None
        self._mailbox = mailbox
        self._cluster = cluster

    async def run(self) -> Judgement:
        """Place the calls, break things, wait for everything to settle, and judge."""
        rig = await self._rig()
        profile = await rig.stack.ask(
            "PUT",
            "/profiles",
            {"remoteSipUri": self._desks.uri, "record": True, "recordChannels": "dual", "email": MAILBOX},
        )
        order = self._order
        calls = plan_calls(order.seed, ceil(order.duration * order.rate), order.shortest, order.longest)
        self._callers = Callers(
            self._reactor,
            self._directory / "callers",
            self._rootfs,
            rig.stack.asterisk.sip_address,
            profile["id"],
            calls,
            order.rate,
        )
        self._began = time.time()
        self._callers.start()
        self._say(f"{len(calls)} calls in {order.duration:g} s, {len(order.strikes)} faults")
        strikes = [Deferred.fromCoroutine(self._strike(rig, strike)) for strike in order.strikes]
        await gatherResults([*strikes, Deferred.fromCoroutine(self._callers.finish())], consumeErrors=True)
        await self._settle(rig)
        return await self._judge(rig)

    async def stop(self) -> None:
        """Stop all that runs."""
        if self._callers is not None:
            await self._callers.stop()
        await self._desks.stop()
        if self._stack is not None:
            await self._stack.stop()
        await self._mailbox.stop()
        self._cluster.stop()

    async def _rig(self) -> Rig:
        directory, reactor = self._directory, self._reactor
        settings = {**SETTINGS, "database": {"dsn": self._cluster.dsn()}}
        port = self._mailbox.port
        self._stack = stack = Stack(reactor, directory / "stack", self._rootfs, settings, mail_port=port)
        rig = Rig(reactor, stack, self._cluster, directory / "postgresql", self._mailbox, port)
        if self._order.disks:
            give_room(stack.archive_directory)
            give_room(stack.asterisk.recording_directory)
        self._say("PostgreSQL")
        await rig.start_database()
        await stack.start(self._say)
        await self._desks.start()
        return rig

    # Breaking.

    async def _strike(self, rig: Rig, strike: Strike) -> None:
        await deferLater(self._reactor, max(0.0, strike.at - (time.time() - self._began)))
        fault = self._faults[strike.fault]
        # one part has one fault at a time: a stop in order may take longer than planned
        async with _holding(self._parts[fault.kind.part]):
            await self._befall(rig, strike, fault)

    async def _befall(self, rig: Rig, strike: Strike, fault: Fault) -> None:
        began = time.time()
        self._say(f"{began - self._began:6.1f} s  {strike.fault}, {strike.seconds:.1f} s")
        try:
            try:
                await fault.begin(rig)
                await deferLater(self._reactor, strike.seconds)
            finally:
                await fault.end(rig)
            await rig.well()
        except VoxrecError as error:
            self._broken.append(f"{strike.fault} at {strike.at:.1f} s: {error.detail}")
        self._outages.append(Outage(strike.fault, began, time.time()))
        self._say(f"{time.time() - self._began:6.1f} s  {strike.fault}: over, and all is well")

    # Settling.

    async def _settle(self, rig: Rig) -> None:
        self._say("the last call is over; waiting until nothing is owed any more")
        began, left = self._reactor.seconds(), [""]

        async def settled() -> bool:
            left[:] = await self._unsettled(rig)
            return not left

        if await rig.stack.until(settled, SETTLE_SECONDS):
            self._say(f"settled in {self._reactor.seconds() - began:.1f} s")
        else:
            self._broken += [f"after {SETTLE_SECONDS:g} s: {what}" for what in left]

    async def _unsettled(self, rig: Rig) -> list[str]:
        """What voxrec itself still has to do, and what is left of its in Asterisk."""
        if await rig.stack.health() != 200:
            return ["voxrec is not ready"]
        figures = await metrics(rig.stack)
        owed = {
            name: value
            for name, value in figures.items()
            if value and name.startswith(("voxrec_jobs_waiting", "voxrec_jobs_dead", "voxrec_calls_live",
                                          "voxrec_journal_pending", "voxrec_recordings{"))
            and "state=failed" not in name
        }  # fmt: skip
        # what cannot be read is kept for a person to look at
        kept = [recording["id"] for recording in await rig.stack.ask("GET", "/recordings?state=failed")]
        left = [what for what in await left_in(rig.stack, rig.reactor) if not any(each in what for each in kept)]
        return [*(f"{name} is {value:g}" for name, value in owed.items()), *left]

    # Judging.

    async def _judge(self, rig: Rig) -> Judgement:
        assert self._callers is not None, "it has called"
        recordings = await rig.stack.ask("GET", "/recordings")
        mails, mailed_at = self._mails()
        return Ledger(
            began=self._began,
            calls=witnessed(self._callers.log, self._desks.log),
            recordings=[_found(rig.stack, recording) for recording in recordings],
            mails=mails,
            outages=sorted(self._outages, key=lambda outage: outage.begin),
            excuses=EXCUSES,
            mailed_at=mailed_at,
            others=self._broken,
        ).judge()

    def _mails(self) -> tuple[Counter[str], dict[str, list[float]]]:
        """How many mails came about each Recording, and when."""
        counted: Counter[str] = Counter()
        moments: dict[str, list[float]] = {}
        for path in self._mailbox.paths():
            with path.open("rb") as mail:
                about = str(BytesHeaderParser().parse(mail)["X-Voxrec-Recording"])
            counted[about] += 1
            moments.setdefault(about, []).append(path.stat().st_mtime)
        return counted, moments


@asynccontextmanager
async def _holding(lock: DeferredLock) -> AsyncIterator[None]:
    await lock.acquire()
    try:
        yield
    finally:
        lock.release()


async def metrics(stack: Stack) -> dict[str, float]:
    """What /metrics says, by name and labels: ``voxrec_jobs_waiting{kind=mail}``."""
    answer = await stack.request("GET", "/metrics")
    figures = {}
    for family in text_string_to_metric_families(answer.body.decode()):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            figures[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return figures


def looker_on(stack: Stack, reactor: Any) -> AriClient:
    """Return a second client of the stack's Asterisk, to look at it beside voxrec."""
    http = HTTPClient(Agent(reactor, pool=HTTPConnectionPool(reactor, persistent=False)))
    asterisk = stack.asterisk
    way = HttpTransport(reactor, http, asterisk.ari_url, asterisk.ari_user, asterisk.ari_password, 10)
    return AriClient(way, "looker-on")


async def left_in(stack: Stack, reactor: Any) -> list[str]:
    """What is left in Asterisk when no call is live: channels, bridges, files."""
    asterisk = looker_on(stack, reactor)
    try:
        channels = [f"channel {channel.name}" for channel in await asterisk.list_channels()]
        bridges = [f"bridge {bridge.id}" for bridge in await asterisk.list_bridges()]
    except VoxrecError as error:
        raise SandboxError(f"Asterisk does not say what it has: {error.detail}") from error
    files = [f"file {path.name}" for path in stack.asterisk.recording_directory.iterdir()]
    return [f"left in Asterisk: {what}" for what in (*channels, *bridges, *sorted(files))]


def _found(stack: Stack, recording: Mapping[str, Any]) -> Found:
    paths = list(stack.archive_directory.glob(f"[0-9]*/[0-9]*/[0-9]*/{recording['id']}.*"))
    caller, callee = sides(paths[0]) if paths else (0.0, 0.0)
    return Found(recording["id"], recording.get("from") or "", recording["state"], caller, callee)
