"""The machine that gets the audio of one call for its listeners, from the first listener until the last one.

The far end's channel is replaced by a transfer, and with it the channels on which the audio depends. They are created
again then, on the channel that is the far end's by that time.
"""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, cast

from automat import TypeMachineBuilder, pep614
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from voxrec.deadline import Deadline
from voxrec.machine_builder import build, declare_states

if TYPE_CHECKING:
    from automat._typed import TypedState  # which automat does not export

State: TypeAlias = "TypedState[TapInputs, TapCore]"
RETRY_INTERVAL: Final = 0.25
"""Seconds until the audio of a call is requested again, because its far end is being replaced."""
GIVE_UP_AFTER: Final = 60.0
"""Seconds without audio after which the listeners are disconnected: the longest default ringing of a new far end."""


class Connection(Protocol):
    """The audio of the call, as Asterisk sends it (`voxrec.calls.listening.call_audio`)."""

    async def remove(self) -> None:
        """Remove everything from Asterisk. Does not raise."""


class TapInputs(Protocol):
    """The events of the audio of one call."""

    def open(self) -> None:
        """There is a listener."""

    def opened(self) -> None:
        """Asterisk sends the audio."""

    def failed(self, error: BaseException) -> None:
        """Asterisk cannot send the audio now."""

    def interrupted(self) -> None:
        """Asterisk has stopped to send the audio, or its decoders are to be renewed."""

    def removed(self) -> None:
        """Nothing of it is left in Asterisk."""

    def retry(self) -> None:
        """Some time has passed since the audio was interrupted."""

    def gave_up(self) -> None:
        """There was no audio for too long."""

    def close(self) -> None:
        """There is no listener any more."""


@dataclass
class TapCore:
    """What the tap machine works with.

    ``connect`` begins to open a connection, and returns it with its outcome. ``started`` is called when audio is sent
    for the first time, ``failed`` if it cannot be; ``lost`` when there was no audio for too long; ``closed`` once, when
    nothing is left in Asterisk.
    """

    clock: IReactorTime
    connect: Callable[[], tuple[Connection, Coroutine[Any, Any, None]]]
    started: Callable[[], None]
    failed: Callable[[BaseException], None]
    lost: Callable[[], None]
    closed: Callable[[], None]
    connection: Connection | None = None
    retry_timer: Deadline = field(init=False)
    patience: Deadline = field(init=False)
    log = Logger()

    def __post_init__(self) -> None:
        self.retry_timer = Deadline(self.clock)
        self.patience = Deadline(self.clock)

    def begin(self, inputs: TapInputs) -> None:
        """Begin to open a connection; its outcome is an input."""

        def failed(failure: Failure) -> None:
            inputs.failed(cast("BaseException", failure.value))

        self.connection, outcome = self.connect()
        Deferred.fromCoroutine(outcome).addCallbacks(lambda _: inputs.opened(), failed).addErrback(self._report)

    def remove(self, inputs: TapInputs) -> None:
        """Remove the connection; that it is removed is an input."""
        connection, self.connection = self.connection, None
        assert connection is not None, "there is a connection in this state"
        Deferred.fromCoroutine(connection.remove()).addCallback(lambda _: inputs.removed()).addErrback(self._report)

    def stop_timers(self) -> None:
        """Stop both timers."""
        self.retry_timer.cancel()
        self.patience.cancel()

    def _report(self, failure: Failure) -> None:
        self.log.failure("an outcome of live listening could not be processed", failure)


@dataclass(frozen=True, slots=True)
class _States:
    """The states of the tap machine.

    `starting` is the first attempt, whose failure the listener is told. `interrupted` lasts until what was in Asterisk
    is removed, so that the decoders of the far end's channel are new; `waiting` until the next attempt, `reopening`.
    """

    idle: State
    starting: State
    listening: State
    interrupted: State
    waiting: State
    reopening: State
    closing: State
    closed: State


def _make_machine() -> Callable[[TapCore], TapInputs]:
    builder = TypeMachineBuilder(TapInputs, TapCore)
    states = declare_states(_States, builder)
    _ignore_late_inputs(states)
    _add_beginning(states)
    _add_interruptions(states)
    _add_end(states)
    return build(builder)


def _ignore_late_inputs(states: _States) -> None:
    """Add the transitions without behaviour: outcomes of a connection that is being removed, and repeated inputs."""
    ending = (states.closing, states.closed)
    for state in (states.starting, states.interrupted, states.waiting, states.reopening, *ending):
        state.upon(TapInputs.interrupted).loop().returns(None)
    for state in (states.interrupted, *ending):
        state.upon(TapInputs.opened).loop().returns(None)
        state.upon(TapInputs.failed).loop().returns(None)
    for state in ending:
        state.upon(TapInputs.close).loop().returns(None)
        state.upon(TapInputs.gave_up).loop().returns(None)
        state.upon(TapInputs.retry).loop().returns(None)
    states.closed.upon(TapInputs.removed).loop().returns(None)


def _add_beginning(states: _States) -> None:
    """Add the transitions from the first listener to the first audio."""

    @pep614(states.idle.upon(TapInputs.open).to(states.starting))
    def begin(inputs: TapInputs, core: TapCore) -> None:
        core.begin(inputs)

    @pep614(states.starting.upon(TapInputs.opened).to(states.listening))
    def started(inputs: TapInputs, core: TapCore) -> None:
        core.started()

    @pep614(states.starting.upon(TapInputs.failed).to(states.closing))
    def refuse(inputs: TapInputs, core: TapCore, error: BaseException) -> None:
        core.failed(error)
        core.remove(inputs)


def _add_interruptions(states: _States) -> None:
    """Add the transitions from an interruption until the audio is there again, or the listeners are let go."""

    @pep614(states.listening.upon(TapInputs.interrupted).to(states.interrupted))
    def interrupt(inputs: TapInputs, core: TapCore) -> None:
        core.patience.start(GIVE_UP_AFTER, inputs.gave_up)
        core.remove(inputs)

    @pep614(states.reopening.upon(TapInputs.failed).to(states.interrupted))
    def clear(inputs: TapInputs, core: TapCore, error: BaseException) -> None:
        core.log.debug("the audio of a call cannot be sent to its listeners now: {error}; retrying", error=error)
        core.remove(inputs)

    @pep614(states.interrupted.upon(TapInputs.removed).to(states.waiting))
    def wait(inputs: TapInputs, core: TapCore) -> None:
        core.retry_timer.start(RETRY_INTERVAL, inputs.retry)

    @pep614(states.waiting.upon(TapInputs.retry).to(states.reopening))
    def reopen(inputs: TapInputs, core: TapCore) -> None:
        core.begin(inputs)

    @pep614(states.reopening.upon(TapInputs.opened).to(states.listening))
    def resume(inputs: TapInputs, core: TapCore) -> None:
        core.patience.cancel()

    def give_up(inputs: TapInputs, core: TapCore) -> None:
        core.lost()  # the last listener that leaves closes the tap

    for state in (states.interrupted, states.waiting, states.reopening):
        pep614(state.upon(TapInputs.gave_up).loop())(give_up)


def _add_end(states: _States) -> None:
    """Add the transitions from the departure of the last listener until nothing is left in Asterisk."""

    def close(inputs: TapInputs, core: TapCore) -> None:
        core.stop_timers()
        core.remove(inputs)

    for state in (states.starting, states.listening, states.reopening):
        pep614(state.upon(TapInputs.close).to(states.closing))(close)

    @pep614(states.interrupted.upon(TapInputs.close).to(states.closing))
    def close_later(inputs: TapInputs, core: TapCore) -> None:
        core.stop_timers()

    def end(inputs: TapInputs, core: TapCore) -> None:
        core.stop_timers()
        core.closed()

    pep614(states.idle.upon(TapInputs.close).to(states.closed))(end)
    pep614(states.waiting.upon(TapInputs.close).to(states.closed))(end)
    pep614(states.closing.upon(TapInputs.removed).to(states.closed))(end)


tap_machine = _make_machine()
"""Makes the machine of the audio of one call, with the state ``idle``."""
