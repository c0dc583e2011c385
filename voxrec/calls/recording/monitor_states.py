"""The states of the machine that records one call."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from voxrec.calls.recording.monitor_core import MonitorCore
from voxrec.calls.recording.monitor_inputs import MonitorInputs

if TYPE_CHECKING:
    from automat._typed import TypedState  # which automat does not export

State: TypeAlias = "TypedState[MonitorInputs, MonitorCore]"


@dataclass(frozen=True, slots=True)
class MonitorStates:
    """The states, in the order in which a recording can pass through them. It is `idle` until it begins.

    - `starting`: Asterisk was told to start a MixMonitor, and has not responded.
    - `waiting`: that could not be sent, because AMI is not connected.
    - `uncertain`: it is not known whether Asterisk has started one.
    - `locating`: this is being found out; if it has not, one is started.
    - `replaced`: the caller's channel was replaced before Asterisk has responded to a start on it.
    - `opening`: a MixMonitor was started, and opens its files.
    - `recording`: it writes its files; during a pause, silence.
    - `leaving`: it is being stopped, for another one is to continue its files.
    - `leave_waiting`: it is not known whether it was stopped; that is repeated.
    - `moving`: it is stopped; the other one is started when its files are closed.
    - `rejoining`: as `moving`, after the call was taken over from a process that has left files, but no MixMonitor.
    - `suspended`: there is no MixMonitor, because the recording is paused.
    - `cancelling`, `ending`: the recording or the call has ended before Asterisk has responded to the start.
    - `stopping`: Asterisk was told to stop the MixMonitor.
    - `stop_waiting`: that has failed, and is repeated.
    - `closing`: Asterisk closes the files.
    """

    idle: State
    starting: State
    waiting: State
    uncertain: State
    locating: State
    replaced: State
    opening: State
    recording: State
    leaving: State
    leave_waiting: State
    moving: State
    rejoining: State
    suspended: State
    cancelling: State
    ending: State
    stopping: State
    stop_waiting: State
    closing: State
    closed: State

    @property
    def commanded(self) -> tuple[State, ...]:
        """The states in which a MixMonitor is being started."""
        return (self.starting, self.locating, self.replaced)

    @property
    def delayed(self) -> tuple[State, ...]:
        """The states in which AMI is needed to start one."""
        return (self.waiting, self.uncertain)

    @property
    def started(self) -> tuple[State, ...]:
        """The states in which a MixMonitor is known to have been started."""
        return (self.opening, self.recording)

    @property
    def between(self) -> tuple[State, ...]:
        """The states between two MixMonitors."""
        return (self.leaving, self.leave_waiting, self.moving, self.rejoining, self.suspended)

    @property
    def current(self) -> tuple[State, ...]:
        """The states from the beginning of the recording until it is to end."""
        return (*self.commanded, *self.delayed, *self.started, *self.between)

    @property
    def finishing(self) -> tuple[State, ...]:
        """The states from then until Asterisk has closed the files."""
        return (self.cancelling, self.ending, self.stopping, self.stop_waiting, self.closing)
