"""The lease of the Stasis application: of several voxrec on one Asterisk, one is active and the others stand by.

Asterisk gives an application to the program that connected last, without a question. The lease is a global variable of
Asterisk, so it works without PostgreSQL: the active process renews it twice a second, and a process connects only after
the lease was released, its holder has died, or it was not renewed for 1.25 s.

The existence of the application says nothing: Asterisk retains it while it has channels (``app_is_finished`` in
res/stasis/app.c).
"""

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, Protocol
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
_POLL_INTERVAL: Final = 0.25  # seconds between two looks at the lease of another process
_SETTLE_DELAY: Final = 0.1  # seconds in which another process may have written at the same time; the last one wins


class GlobalVariables(Protocol):
    """The global variables of Asterisk."""

    async def get_global_variable(self, name: str) -> str:
        """Return a global variable; empty if it is not set. Raises a VoxrecError."""
        ...

    def set_global_variable(self, name: str, value: str) -> Awaitable[object]:
        """Set a global variable. Raises a VoxrecError."""
        ...


class ApplicationLease:
    """The lease of one application. ``is_dead`` returns whether the holder with an id has died for certain.

    ``on_lost`` is called if another process has the lease while this one believed to have it.
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
    ) -> None:
        self._clock = clock
        self._asterisk = asterisk
        self._variable = f"VOXREC_LEASE_{app.replace('-', '_')}"
        self._on_lost = on_lost
        self._holder = holder
        self._is_dead = is_dead
        self._count = 0
        self._responded_at = clock.seconds()
        self._renewal = LoopingCall(self._renew)
        self._renewal.clock = clock
        self.standby = False
        """Whether another process is active, and this one waits."""

    async def acquire(self) -> None:
        """Wait until this process has the lease. Raises a VoxrecError if Asterisk does not respond."""
        self.stop_renewal()
        seen, since = "", self._clock.seconds()
        while True:
            requested_at = self._clock.seconds()
            value = await self._asterisk.get_global_variable(self._variable)
            if self._is_own(value):
                self._responded_at = requested_at
                break
            if value != seen:
                seen, since = value, self._clock.seconds()
            expired = self._clock.seconds() - since >= EXPIRY
            if not value or expired or self._is_dead(_holder_of(value)):
                await self._write()
                await deferLater(self._clock, _SETTLE_DELAY)
                continue
            if not self.standby:
                self.standby = True
                self._log.info("standing by: another voxrec has the Stasis application of this Asterisk")
            await deferLater(self._clock, _POLL_INTERVAL)
        if self.standby:
            self.standby = False
            self._log.warn("the voxrec that had the Stasis application does not respond; this one takes over")
        self._renewal.start(RENEW_INTERVAL, now=False)

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

    async def is_held_by_another(self) -> bool:
        """Return whether another voxrec has the lease. Raises a VoxrecError."""
        value = await self._asterisk.get_global_variable(self._variable)
        return bool(value) and not self._is_own(value)

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
        return _holder_of(value) == self._holder

    async def _write(self) -> None:
        self._count += 1
        await self._asterisk.set_global_variable(self._variable, f"{self._holder} {self._count}")

    async def _renew(self) -> None:
        requested_at = self._clock.seconds()
        try:
            value = await self._asterisk.get_global_variable(self._variable)
            self._responded_at = requested_at
            if value and not self._is_own(value):
                self.stop_renewal()
                self._on_lost()
            elif self._renewal.running:
                await self._write()
        except VoxrecError as error:
            self._log.debug("the lease of the application could not be renewed; retrying: {error}", error=error)


def _holder_of(value: str) -> str:
    return value.partition(" ")[0]


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
