"""Faults of the process that has the calls: it ends and returns, or the other one of two, its standby, takes over."""

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import yaml

from voxrec.sandbox.chaos.environment import READY_SECONDS, Environment, Fault
from voxrec.sandbox.chaos.outages import TAKEOVER, TAKEOVER_WITHOUT_PROFILES, UNCONNECTED, Outage
from voxrec.sandbox.chaos.schedule import FaultKind
from voxrec.sandbox.chaos.verification import STANDBY_SECONDS
from voxrec.sandbox.errors import SandboxError
from voxrec.sandbox.process import wait_until
from voxrec.sandbox.stack import Stack

_ACTIVE: Final = b"connected to Asterisk"
_STANDING_BY: Final = b"standing by: another voxrec"
_NO_PROFILES: Final = "no Profiles are known"
_OWN_SETTINGS: Final = ("data_directory", "rest", "log")
"""What two voxrec processes on one machine do not share."""


class Role:
    """The role of a process that is about to start, as its log says from now on."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._offset = log.stat().st_size if log.exists() else 0

    @property
    def is_active(self) -> bool:
        """Whether it has the Stasis application, as far as it knows."""
        active, standing_by = self._last_messages()
        return active > standing_by

    @property
    def is_known(self) -> bool:
        """Whether it is active, or stands by."""
        active, standing_by = self._last_messages()
        return active != standing_by

    def _last_messages(self) -> tuple[int, int]:
        if not self._log.exists():
            return -1, -1
        with self._log.open("rb") as log:
            log.seek(self._offset)
            text = log.read()
        return text.rfind(_ACTIVE), text.rfind(_STANDING_BY)


class EndsAndReturns:
    """A fault that ends voxrec or Asterisk, and starts it again.

    Notes the outage in which no voxrec is connected to Asterisk, so that calls are rejected. It is shorter than the
    time until voxrec is ready, for which it waits for PostgreSQL.
    """

    def __init__(self, fault: Fault[Environment]) -> None:
        self.kind = fault.kind
        self._fault = fault
        self._began = 0.0

    async def inject(self, environment: Environment) -> None:
        """Inject the fault."""
        self._began = time.time()
        await self._fault.inject(environment)

    async def recover(self, environment: Environment) -> None:
        """Start it, and wait until a voxrec is connected to Asterisk."""
        await self._fault.recover(environment)
        connected = await environment.stack.wait_until(environment.is_connected, READY_SECONDS)
        environment.outages.append(Outage(UNCONNECTED, self._began, time.time()))
        if not connected:
            raise SandboxError(f"no voxrec is connected to Asterisk:\n{environment.stack.voxrec_log_tail()}")


class StandbyTakesOver:
    """A standby starts, and the active voxrec is killed. In the end that one starts again, and takes over in turn."""

    kind = FaultKind("second-voxrec", "voxrec", 3, 10)

    def __init__(self) -> None:
        self._second: Stack | None = None
        self._without_profiles_since: float | None = None  # when a second one that knows no Profiles has taken over

    async def inject(self, environment: Environment) -> None:
        """Start the standby with its own data directory and REST port, and kill the active voxrec."""
        first = environment.stack
        settings = yaml.safe_load(first.config_file.read_text())
        shared = {section: value for section, value in settings.items() if section not in _OWN_SETTINGS}
        port = environment.mail_port
        environment.second = self._second = second = Stack(
            environment.reactor, first.directory / "second", None, shared, mail_port=port
        )
        second.directory.mkdir(exist_ok=True)
        second.write_configuration()
        role = Role(second.log_file)
        second.launch_voxrec()
        await _wait_until(environment, lambda: role.is_known, second, "neither is active nor stands by")
        began = time.time()
        await _end(environment, first.kill_voxrec, second, role)
        if _NO_PROFILES in await second.dependency_problem("postgresql"):
            self._without_profiles_since = began

    async def recover(self, environment: Environment) -> None:
        """Start the first voxrec, which stands by, and stop the second one when it has stored everything."""
        first, second = environment.stack, self._second
        if second is None:
            return
        role = Role(first.log_file)
        try:
            if first.running:  # the fault was not injected completely
                return
            first.launch_voxrec()
            await _wait_until(environment, lambda: role.is_known, first, "neither is active nor stands by")
            if self._without_profiles_since is not None:  # the first one, which has a snapshot, must take over now
                end = time.time() + STANDBY_SECONDS
                environment.outages.append(Outage(TAKEOVER_WITHOUT_PROFILES, self._without_profiles_since, end))

            async def ready() -> bool:
                return role.is_active or await second.readiness_status() == 200

            if not await second.wait_until(ready, READY_SECONDS):
                raise SandboxError(f"the second voxrec is not ready:\n{second.voxrec_log_tail()}")
            await _end(environment, lambda: second.signal_voxrec(signal.SIGTERM), first, role)
        finally:
            await second.stop_voxrec()


async def _end(environment: Environment, end: Callable[[], object], other: Stack, role: Role) -> None:
    """End a voxrec, and wait until ``other``, whose ``role`` is known, is active. Note how long that took."""
    was_active, began = role.is_active, time.time()  # it is active already if Asterisk was restarted meanwhile
    end()
    await _wait_until(environment, lambda: role.is_active, other, "does not take over")
    if not was_active:
        environment.outages.append(Outage(TAKEOVER, began, time.time()))


async def _wait_until(environment: Environment, condition: Callable[[], bool], stack: Stack, problem: str) -> None:
    if not await wait_until(environment.reactor, condition, READY_SECONDS):
        raise SandboxError(f"a voxrec {problem}:\n{stack.voxrec_log_tail()}")
