"""The inputs of the machine that records one call."""

from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from voxrec.model import Side


class MonitorInputs(Protocol):
    """The events of the recording of a call."""

    def begin(self) -> None:
        """The call is to be recorded."""

    def found(self, monitor: str, muted: bool) -> None:
        """This MixMonitor was started before this process took over the call, which was paused if ``muted``."""

    def found_suspended(self) -> None:
        """The recording was paused when this process took over the call; there are files, but no MixMonitor."""

    def found_files(self) -> None:
        """There are files, but no MixMonitor is known; the recording is to continue.

        The other process was about to start one. Or a version with snoop channels began the recording.
        """

    def found_ended(self) -> None:
        """The recording had ended when this process took over the call."""

    def begun(self, monitor: str) -> None:
        """Asterisk has started this MixMonitor."""

    def unsent(self, failure: Failure) -> None:
        """The command to start could not be sent."""

    def unavailable(self, failure: Failure) -> None:
        """It is not known whether Asterisk has executed the command to start."""

    def refused(self, failure: Failure) -> None:
        """Asterisk cannot record the call."""

    def suspend(self) -> None:
        """The recording is paused: no MixMonitor is to be started until it is resumed."""

    def created(self, sides: frozenset[Side]) -> None:
        """Asterisk has opened the files of these sides, and will open no other."""

    def retry(self) -> None:
        """AMI is connected again, or some time has passed since a command has failed or its outcome was doubtful."""

    def mute(self, changed: Deferred[None]) -> None:
        """Record silence, and fire ``changed`` when it is done, or fail it with the error of the command."""

    def unmute(self, changed: Deferred[None]) -> None:
        """Record audio again, and fire ``changed`` when it is done, or fail it with the error of the command."""

    def stopped(self) -> None:
        """The MixMonitor does not record any more."""

    def interrupted(self) -> None:
        """The MixMonitor does not record any more, although the recording has not ended."""

    def use_channel(self, channel: str) -> None:
        """The recording is to continue with a new MixMonitor on another channel of the caller."""

    def renew(self) -> None:
        """The recording is to continue with a new MixMonitor on the same channel, which has new decoders."""

    def left(self, gap: float) -> None:
        """Asterisk was told to stop the former MixMonitor, or ends it with its channel; continue after ``gap`` s."""

    def not_left(self, failure: Failure) -> None:
        """The former MixMonitor could not be stopped, and continues."""

    def leave_failed(self, failure: Failure) -> None:
        """It is not known whether Asterisk has stopped the former MixMonitor."""

    def moved(self) -> None:
        """Asterisk has closed the files of the former MixMonitor."""

    def stop(self) -> None:
        """The recording is to end, but not the call; or its channel is to continue without voxrec."""

    def stop_failed(self, failure: Failure) -> None:
        """It is not known whether Asterisk has executed the command to stop."""

    def call_ended(self) -> None:
        """The call is being cleared."""

    def closed(self) -> None:
        """Asterisk has closed all files, or never opened one, or has ended."""

    def detach(self) -> None:
        """Another process has the call now."""
