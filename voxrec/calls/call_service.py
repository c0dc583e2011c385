"""Starts to accept calls, and ends or detaches from the live calls at the stop."""

from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred, TimeoutError, maybeDeferred  # noqa: A004
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from voxrec.calls.admission import Admission
from voxrec.calls.live_calls import LiveCalls

# Calls that were live before a restart are not controlled meanwhile, so the wait must be short.
_PROFILES_TIMEOUT: Final = 5.0  # seconds to wait for the Profiles before connecting to Asterisk
_RELEASE_TIMEOUT: Final = 15.0  # seconds for calls to end after voxrec has hung up


class Profiles(Protocol):
    """The cache of the Profiles."""

    @property
    def loaded(self) -> bool:
        """Whether Profiles are in memory, from PostgreSQL or from the snapshot on disk."""

    async def when_loaded(self, timeout: float, /) -> None:
        """Return when Profiles are in memory, or after ``timeout`` seconds."""


class StopPolicy(Protocol):
    """What happens to the live calls when the service stops."""

    async def stop(self) -> None:
        """Disconnect from Asterisk, and leave or end the live calls."""


class CallService(Service):
    """Connects to Asterisk once the Profiles are loaded, and applies ``stop_policy`` when it stops."""

    name = "calls"
    _log = Logger()

    def __init__(self, connection: Service, profiles: Profiles, stop_policy: StopPolicy) -> None:
        self._connection = connection
        self._profiles = profiles
        self._stop_policy = stop_policy

    def set_stop_policy(self, stop_policy: StopPolicy) -> None:
        """Change what happens to the live calls when the service stops."""
        self._stop_policy = stop_policy

    def startService(self) -> Deferred[None]:
        """Start to connect to Asterisk, which then sends the calls; without Profiles they are refused."""
        super().startService()
        return Deferred.fromCoroutine(self._start())

    def stopService(self) -> Deferred[None]:
        """Apply the stop policy; the Deferred fires when the connection is closed."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop_policy.stop())

    async def _start(self) -> None:
        await self._profiles.when_loaded(_PROFILES_TIMEOUT)
        if not self._profiles.loaded:
            self._log.warn(
                "no Profiles are known yet: there is no snapshot of them on disk, and PostgreSQL has not delivered "
                "them in {timeout:g} s; calls are refused with 503 until it does, unless another voxrec on this "
                "Asterisk accepts them",
                timeout=_PROFILES_TIMEOUT,
            )
        self._connection.startService()


class DetachAtStop:
    """Leaves the live calls, and their recordings, to the next process (``calls.on_stop: keep``)."""

    def __init__(self, connection: Service, live_calls: LiveCalls) -> None:
        self._connection = connection
        self._live_calls = live_calls

    async def stop(self) -> None:
        """See `StopPolicy.stop`."""
        await _stopped(self._connection)
        self._live_calls.detach_all()


class DrainAtStop:
    """Gives the live calls ``grace`` seconds to end, then hangs up (``calls.on_stop: end``).

    If another voxrec on the same Asterisk stands by, it gets all calls instead, and accepts new ones: ``hand_over``
    returns whether it has taken them.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        connection: Service,
        live_calls: LiveCalls,
        admission: Admission,
        grace: float,
        hand_over: Callable[[], Awaitable[bool]],
    ) -> None:
        self._clock = clock
        self._connection = connection
        self._live_calls = live_calls
        self._admission = admission
        self._grace = grace
        self._hand_over = hand_over

    async def stop(self) -> None:
        """See `StopPolicy.stop`."""
        if len(self._live_calls) and await self._hand_over():
            self._log.info("another voxrec on this Asterisk has taken over the calls")
            await DetachAtStop(self._connection, self._live_calls).stop()
            return
        self._admission.refuse_new_calls()
        if not await self._calls_end_within(self._grace):
            self._log.warn("calls are still live {grace:g} s after the stop began; hanging up", grace=self._grace)
            self._live_calls.release_all()
            await self._calls_end_within(_RELEASE_TIMEOUT)
        await _stopped(self._connection)

    async def _calls_end_within(self, seconds: float) -> bool:
        try:
            await self._live_calls.when_empty().addTimeout(seconds, self._clock)
        except TimeoutError:
            return False
        return True


def _stopped(service: Service) -> Awaitable[object]:
    return maybeDeferred(service.stopService)
