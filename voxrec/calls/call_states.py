"""The states of the call machine."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from voxrec.calls.call_core import CallCore, CallInputs

if TYPE_CHECKING:
    from automat._typed import TypedState  # which automat does not export

State: TypeAlias = "TypedState[CallInputs, CallCore]"


@dataclass(frozen=True, slots=True)
class CallStates:
    """The states of the call machine, in the order in which a call passes through them.

    They correspond to `CallState`, but `ringing` has two: `ringing` since the far end is being called, and `alerting`
    since it has reported that it rings. A call is `new` until it begins or is taken over. It is `calling` only if
    voxrec calls its caller first.
    """

    new: State
    calling: State
    placing: State
    ringing: State
    alerting: State
    connecting: State
    announcing: State
    talking: State
    clearing: State
    over: State

    @property
    def dialled(self) -> tuple[State, ...]:
        """The states in which the far end is being called."""
        return (self.ringing, self.alerting)

    @property
    def unanswered(self) -> tuple[State, ...]:
        """The states before the answer of the far end."""
        return (self.placing, *self.dialled)

    @property
    def answered(self) -> tuple[State, ...]:
        """The states from the answer of the far end until the end of the call."""
        return (self.connecting, self.announcing, self.talking)

    @property
    def ending(self) -> tuple[State, ...]:
        """The states after the end of the call."""
        return (self.clearing, self.over)
