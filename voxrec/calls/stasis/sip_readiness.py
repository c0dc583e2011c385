"""Lets Asterisk answer SIP OPTIONS requests to voxrec-ready with 200 only while this process is ready for calls.

Asterisk answers OPTIONS by whether the extension exists in the dialplan (`options_on_rx_request` in
res/res_pjsip/pjsip_options.c). etc/asterisk/extensions.conf lets voxrec-ready exist while the global variable
VOXREC_READY_<app> contains a time of the last 3 s. This process renews it while it is ready, so that nothing has to be
withdrawn when it is killed. The time is that of Asterisk, whose clock may differ from that of this host.
"""

from collections.abc import Awaitable, Callable
from typing import Final

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from voxrec.calls.stasis.application_lease import GlobalVariables
from voxrec.deferreds import SingleFlight
from voxrec.errors import VoxrecError

RENEW_INTERVAL: Final = 1.0
"""Seconds between two renewals."""
_NOW: Final = "EPOCH"  # a variable of Asterisk: the seconds since 1970


class SipReadiness(Service):
    """Reports to Asterisk every second whether this process is ready for calls.

    ``is_ready`` returns whether it is. ``owns_application`` returns whether the Stasis application ``app`` is that of
    this process: a process that stands by must not change what the active one reports.
    """

    name = "SIP readiness"
    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        asterisk: GlobalVariables,
        app: str,
        is_ready: Callable[[], Awaitable[bool]],
        owns_application: Callable[[], bool],
    ) -> None:
        self._asterisk = asterisk
        self._variable = f"VOXREC_READY_{app.replace('-', '_')}"
        self._is_ready = is_ready
        self._owns_application = owns_application
        self._reported = False  # whether Asterisk may believe that this process is ready
        self._timer = LoopingCall(self.refresh)
        self._timer.clock = clock
        self._reporter = SingleFlight(self._report, self._report_failed)

    def startService(self) -> None:
        """Report now, and every second."""
        super().startService()
        self._timer.start(RENEW_INTERVAL)

    def stopService(self) -> Deferred[None]:
        """Report that this process is not ready any more."""
        super().stopService()
        if self._timer.running:
            self._timer.stop()
        return Deferred.fromCoroutine(self._stop())

    def refresh(self) -> None:
        """Report now: the readiness may have changed."""
        self._reporter.request()

    async def _stop(self) -> None:
        await self._reporter.wait()
        if self._reported:
            self.refresh()
            await self._reporter.wait()

    async def _report(self) -> None:
        try:
            if not self._owns_application():
                self._reported = False  # the active process reports
                return
            # The check can take seconds, after which its result is worth less: hence the time at its beginning.
            now = await self._asterisk.get_global_variable(_NOW)
            ready = bool(self.running and await self._is_ready() and self.running)
            if ready or self._reported:
                await self._asterisk.set_global_variable(self._variable, now if ready else "")
            self._reported = ready
        except VoxrecError as error:
            self._log.debug("Asterisk does not know whether voxrec is ready; retrying: {error}", error=error)

    def _report_failed(self, failure: Failure) -> None:
        self._log.failure("the readiness could not be reported to Asterisk; retrying in 1 s", failure)
