"""The lease of the Stasis application: of several voxrec on one Asterisk, one is active and the others stand by.

Asterisk gives an application to the program that connected last, without a question. The lease is a global variable of
Asterisk, so it works without PostgreSQL: the active process renews it twice a second, and a process connects only after
the lease was released, its holder has died, or it was not renewed for 1.25 s.

A process that knows no Profiles, because it was started without a snapshot of them while PostgreSQL was away, must
refuse all calls. It takes a lease only if no process with Profiles does: it waits a second longer, for the calls in
progress need a controller. It marks the lease as held without Profiles, and a process with Profiles then takes the
lease over at once. Of two processes with Profiles, the active one remains so, however old its snapshot is.

The existence of the application says nothing: Asterisk retains it while it has channels (``app_is_finished`` in
res/stasis/app.c).
"""

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, NamedTuple, Protocol
from uuid import uuid4

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger

from voxrec.errors import VoxrecError

RENEW_INTERVAL: Final = 0.5
"""Seconds between two renewals."""
EXPIRY: Final = 1.25
"""Seconds without a renewal after which a lease has expired."""
INTERRUPTION: Final = 1.4
"""Seconds since the last successful renewal began, from which on Asterisk or this process was interrupted.

With `RENEW_INTERVAL`, it is less than the time after which a SIP proxy passes a call to another node (NO_RESPONSE in
etc/kamailio/kamailio.cfg).
"""
HEAD_START: Final = 1.0
"""Seconds for which a process without Profiles leaves a lease that is available to processes with Profiles."""
_POLL_INTERVAL: Final = 0.25  # seconds between two looks at the lease of another process
_MARK: Final = "without-profiles"
_OVERWRITTEN: Final = 4.0  # seconds in which the holder of a lease that was overwritten notices it, and takes it again
_OFFER_TIME: Final = 0.9  # seconds, in which a process that stands by notices that the lease was released
_SETTLE_DELAY: Final = 0.1  # seconds in which another process may have written at the same time; the last one wins


class GlobalVariables(Protocol):
    """The global variables of Asterisk."""

    async def get_global_variable(self, name: str) -> str:
        """Return a global variable; empty if it is not set. Raises a VoxrecError."""
        ...

    def set_global_variable(self, name: str, value: str) -> Awaitable[object]:
        """Set a global variable. Raises a VoxrecError."""
        ...


class _Lease(NamedTuple):
    """The value of the variable: "<holder> <number of renewals>", followed by `_MARK` if the holder has no Profiles.

    Versions that do not know the mark ignore it, and never write it.
    """

    holder: str = ""
    has_profiles: bool = True

    @classmethod
    def parse(cls, value: str) -> "_Lease":
        holder, _, rest = value.partition(" ")
        return cls(holder, has_profiles=not rest.endswith(f" {_MARK}"))


class ApplicationLease:
    """The lease of one application. ``is_dead`` returns whether the holder with an id has died for certain.

    ``on_lost`` is called if another process has the lease while this one believed to have it. ``has_profiles`` returns
    whether this process knows Profiles, and can therefore accept calls.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        asterisk: GlobalVariables,
        app: str,
        on_lost: Callable[[], object],
        *,
        holder: str,
        is_dead: Callable[[str], bool],
        has_profiles: Callable[[], bool],
    ) -> None:
        self._clock = clock
        self._asterisk = asterisk
        self._variable = f"VOXREC_LEASE_{app.replace('-', '_')}"
        self._on_lost = on_lost
        self._holder = holder
        self._is_dead = is_dead
        self._has_profiles = has_profiles
        self._count = 0
        self._responded_at = clock.seconds()
        self._renewal = LoopingCall(self._renew)
        self._renewal.clock = clock
        self.standby = False
        """Whether another process is active, and this one waits."""

    async def acquire(self) -> None:
        """Wait until this process has the lease. Raises a VoxrecError if Asterisk does not respond."""
        self.stop_renewal()
        former, unchanged_since = None, 0.0
        while True:
            requested_at = self._clock.seconds()
            value = await self._asterisk.get_global_variable(self._variable)
            if self._is_own(value):
                self._responded_at = requested_at
                break
            if value != former:
                former, unchanged_since = value, self._clock.seconds()
            if self._may_take(value, self._clock.seconds() - unchanged_since):
                await self._write()
                await deferLater(self._clock, _SETTLE_DELAY)
                continue
            if not self._is_vacant(value):
                self._stand_by()
            await deferLater(self._clock, _POLL_INTERVAL)
        self._log_takeover(former or "")
        self.standby = False
        self._renewal.start(RENEW_INTERVAL, now=False)

    def _may_take(self, value: str, unchanged: float) -> bool:
        """Return whether this process may take a lease that was not renewed for ``unchanged`` seconds."""
        if self._has_profiles():
            return self._is_vacant(value) or not _Lease.parse(value).has_profiles or unchanged >= EXPIRY
        return unchanged >= (0.0 if self._is_vacant(value) else EXPIRY) + HEAD_START

    def _is_vacant(self, value: str) -> bool:
        """Return whether a lease was released, or its holder has died."""
        return not value or self._is_dead(_Lease.parse(value).holder)

    def _stand_by(self) -> None:
        if self.standby:
            return
        self.standby = True
        if self._has_profiles():
            self._log.info("standing by: another voxrec has the Stasis application of this Asterisk")
        else:
            self._log.info(
                "standing by: another voxrec has the Stasis application of this Asterisk; while this one knows no "
                "Profiles, it takes over only if no other voxrec does"
            )

    def _log_takeover(self, former: str) -> None:
        """Log why the lease was taken; ``former`` was its value. A process that did not stand by has only started."""
        if not _Lease.parse(former).has_profiles and self._has_profiles():
            self._log.info("the voxrec that had the Stasis application knows no Profiles; this one takes over")
        elif self.standby and not former:
            self._log.info("the voxrec that had the Stasis application was stopped; this one takes over")
        elif self.standby:
            self._log.warn("the voxrec that had the Stasis application does not respond; this one takes over")

    @property
    def held(self) -> bool:
        """Whether this process has the lease, as far as it knows."""
        return self._renewal.running

    @property
    def was_interrupted(self) -> bool:
        """Whether Asterisk, or this process, did not run for a while until now, or until half a second ago.

        Each renewal shows that Asterisk has responded, and that this process runs, after the renewal began. The clock
        of a virtual machine that was suspended may not show it.
        """
        return self._clock.seconds() - self._responded_at > INTERRUPTION

    async def yield_to_another(self) -> bool:
        """Renew the lease no more, and return whether another voxrec has it or takes it within 4 s.

        Call it when Asterisk has given the application to another program. If this process was interrupted between
        reading and writing the lease, it has overwritten that of the other one. Raises a VoxrecError.
        """
        self.stop_renewal()
        deadline = self._clock.seconds() + _OVERWRITTEN
        while not (held_by_another := await self._is_held_by_another()) and self._clock.seconds() < deadline:
            await deferLater(self._clock, _POLL_INTERVAL)
        return held_by_another

    async def _is_held_by_another(self) -> bool:
        value = await self._asterisk.get_global_variable(self._variable)
        return bool(value) and not self._is_own(value)

    async def offer(self) -> bool:
        """Release the lease, and return whether another voxrec has taken it within a second; otherwise take it again.

        This process remains active meanwhile. Processes without Profiles do not take the lease so early.
        """
        if not self.held:
            return False
        self.stop_renewal()
        try:
            taken = await self._is_taken_if_released()
        except VoxrecError as error:
            self._log.debug("the lease of the application could not be offered: {error}", error=error)
            taken = False
        if not (taken or self.held):
            self._renewal.start(RENEW_INTERVAL, now=False)
        return taken

    async def _is_taken_if_released(self) -> bool:
        if await self._is_held_by_another():
            return True
        await self._asterisk.set_global_variable(self._variable, "")
        deadline = self._clock.seconds() + _OFFER_TIME
        while self._clock.seconds() < deadline:
            await deferLater(self._clock, _SETTLE_DELAY)
            self._responded_at = self._clock.seconds()
            if await self._is_held_by_another():
                return True
        await self._write()
        await deferLater(self._clock, _SETTLE_DELAY)
        return await self._is_held_by_another()

    async def release(self) -> None:
        """Let another process take over at once, if this one has the lease."""
        was_active = self._renewal.running
        self.stop_renewal()
        if not was_active:
            return
        try:
            if self._is_own(await self._asterisk.get_global_variable(self._variable)):
                await self._asterisk.set_global_variable(self._variable, "")
        except VoxrecError as error:
            self._log.debug("the lease of the application could not be released; it expires: {error}", error=error)

    def stop_renewal(self) -> None:
        """Renew the lease no more: this process is not active."""
        if self._renewal.running:
            self._renewal.stop()

    def _is_own(self, value: str) -> bool:
        return _Lease.parse(value).holder == self._holder

    async def _write(self) -> None:
        self._count += 1
        value = f"{self._holder} {self._count}"
        await self._asterisk.set_global_variable(self._variable, value if self._has_profiles() else f"{value} {_MARK}")

    async def _renew(self) -> None:
        requested_at = self._clock.seconds()
        try:
            held_by_another = await self._is_held_by_another()
            self._responded_at = requested_at
            if held_by_another:
                self.stop_renewal()
                self._on_lost()
            elif self._renewal.running:
                await self._write()
        except VoxrecError as error:
            self._log.debug("the lease of the application could not be renewed; retrying: {error}", error=error)


class LocalHolder:
    """The identity of this process, from which processes on the same machine see whether it has died."""

    def __init__(self) -> None:
        self._machine = f"{_boot_id()}.{_pid_namespace()}"
        self.id = f"{self._machine}/{os.getpid()}.{_started(os.getpid())}/{uuid4().hex[:8]}"

    def is_dead(self, holder: str) -> bool:
        """Return whether ``holder`` is a process of this machine, in this PID namespace, that does not exist."""
        machine, _, rest = holder.partition("/")
        pid, _, started = rest.partition("/")[0].partition(".")
        if machine != self._machine or not pid.isdecimal() or not started:
            return False
        return _started(int(pid)) != started


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return uuid4().hex  # comparable with no other process


def _pid_namespace() -> str:
    try:
        return str(os.stat("/proc/self/ns/pid").st_ino)  # noqa: PTH116 - Path.stat would not be clearer
    except OSError:
        return uuid4().hex


def _started(pid: int) -> str:
    """Return the start time of a process (proc(5), /proc/pid/stat, field 22); empty if it does not exist."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]
