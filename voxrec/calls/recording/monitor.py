"""The machine that records one call: from the start of the MixMonitor until Asterisk has closed both files.

While AMI is not connected nothing can be started, muted or stopped. What is due then is done when AMI is connected
again. A command whose outcome is not known is repeated: it sets a state, or it is found out first what it has done.

A MixMonitor records audio until it is muted. Therefore none is started during a pause: if the one that writes the
silence of the pause ends, because its channel is replaced or its decoders are renewed, the recording is suspended until
it is resumed, and the finish job adds the silence that is missing.
"""

from collections.abc import Callable

from automat import TypeMachineBuilder, pep614
from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from voxrec.calls.recording.monitor_core import NOT_OPENED, MonitorCore, MonitorInputs
from voxrec.errors import AsteriskUnavailable, CommandNotSent
from voxrec.machine_builder import build
from voxrec.model import Side


def _make_machine() -> Callable[[MonitorCore], MonitorInputs]:
    builder = TypeMachineBuilder(MonitorInputs, MonitorCore)

    # States. In `waiting` and `stop_waiting` AMI is needed to start or to stop; in `uncertain` it is not known whether
    # Asterisk has started a MixMonitor. In `suspended` there is none, because of a pause. In `cancelling` the
    # recording, and in `ending` the call, has ended before Asterisk has responded to the command to start.

    idle = builder.state("idle")
    starting = builder.state("starting")
    waiting = builder.state("waiting")
    uncertain = builder.state("uncertain")
    suspended = builder.state("suspended")
    opening = builder.state("opening")
    moving = builder.state("moving")
    recording = builder.state("recording")
    cancelling = builder.state("cancelling")
    stopping = builder.state("stopping")
    stop_waiting = builder.state("stop_waiting")
    ending = builder.state("ending")
    closing = builder.state("closing")
    closed = builder.state("closed")
    delayed = (waiting, uncertain)
    started = (opening, recording)
    finishing = (cancelling, stopping, stop_waiting, ending, closing)

    # Transitions without behaviour.

    for state in (idle, starting, moving, cancelling, stopping, ending, closing, closed):
        state.upon(MonitorInputs.retry).loop().returns(None)
    for state in (idle, cancelling, stopping, stop_waiting, ending, closed):
        state.upon(MonitorInputs.stop).loop().returns(None)
    for state in (idle, *finishing, closed):
        state.upon(MonitorInputs.use_channel).loop().returns(None)
    # what is started next has new decoders
    for state in (idle, starting, *delayed, suspended, moving, *finishing, closed):
        state.upon(MonitorInputs.renew).loop().returns(None)
    for state in (idle, starting, *delayed, suspended, *started, *finishing, closed):
        for late in (MonitorInputs.left, MonitorInputs.not_left, MonitorInputs.moved):
            state.upon(late).loop().returns(None)
    for state in (moving, suspended, cancelling, stop_waiting, ending, closing, closed):
        state.upon(MonitorInputs.lost).loop().returns(None)
    for state in (starting, *delayed, moving, suspended, *finishing, closed):
        state.upon(MonitorInputs.interrupted).loop().returns(None)
    for state in (ending, closing, closed):
        state.upon(MonitorInputs.call_ended).loop().returns(None)
        state.upon(MonitorInputs.stop_failed).loop().returns(None)
    for state in (moving, stopping, stop_waiting, closing, closed):
        state.upon(MonitorInputs.created).loop().returns(None)
    starting.upon(MonitorInputs.call_ended).to(ending).returns(None)
    starting.upon(MonitorInputs.stop).to(cancelling).returns(None)
    cancelling.upon(MonitorInputs.call_ended).to(ending).returns(None)
    for outcome in (
        MonitorInputs.begun,
        MonitorInputs.unsent,
        MonitorInputs.unavailable,
        MonitorInputs.refused,
        MonitorInputs.detach,
    ):
        closed.upon(outcome).loop().returns(None)
    closed.upon(MonitorInputs.closed).loop().returns(None)

    # The beginning.

    def run_start(inputs: MonitorInputs, core: MonitorCore, *, again: bool) -> None:
        def failed(failure: Failure) -> None:
            if failure.check(CommandNotSent):
                inputs.unsent(failure)
            elif failure.check(AsteriskUnavailable):
                inputs.unavailable(failure)
            else:
                inputs.refused(failure)

        Deferred.fromCoroutine(core.start(again=again)).addCallbacks(inputs.begun, failed)

    def start_unless_paused(inputs: MonitorInputs, core: MonitorCore) -> None:
        if core.muted:
            inputs.suspend()
            core.settle_change()
        else:
            run_start(inputs, core, again=False)

    def repeat(inputs: MonitorInputs, core: MonitorCore) -> None:
        Deferred.fromCoroutine(core.assert_muted(inputs))

    pep614(idle.upon(MonitorInputs.begin).to(starting))(start_unless_paused)

    @pep614(starting.upon(MonitorInputs.begun).to(opening))
    def begun(inputs: MonitorInputs, core: MonitorCore, monitor: str) -> None:
        core.monitor, core.expected = monitor, frozenset(Side)
        core.watch_creation(inputs)
        Deferred.fromCoroutine(core.carry_out_change(inputs, is_muted=False))

    @pep614(opening.upon(MonitorInputs.created).to(recording))
    def created(inputs: MonitorInputs, core: MonitorCore, sides: frozenset[Side]) -> None:
        core.expected = sides
        for side in Side:
            if side not in sides:
                core.report_failure(side, NOT_OPENED)
        if core.is_late:
            core.is_late = False
            core.late()
        core.started()
        if not sides:
            inputs.stop()

    def refuse(inputs: MonitorInputs, core: MonitorCore, failure: Failure) -> None:
        core.report_refusal(failure)
        core.started()
        core.over()
        core.settle_change(core.not_recorded())

    for state in (starting, cancelling):
        pep614(state.upon(MonitorInputs.refused).to(closed))(refuse)

    # Without AMI.

    @pep614(starting.upon(MonitorInputs.unsent).to(waiting))
    def wait(inputs: MonitorInputs, core: MonitorCore, failure: Failure) -> None:
        if core.change is not None and not core.muted:  # it cannot be resumed, and stays paused
            core.muted = True
            inputs.suspend()
            core.settle_change(failure.value)
            return
        core.report_delay(failure)
        if core.muted:
            inputs.suspend()
            core.settle_change()
        else:
            core.started()
            core.retry_later(inputs)

    @pep614(starting.upon(MonitorInputs.unavailable).to(uncertain))
    def wait_for_outcome(inputs: MonitorInputs, core: MonitorCore, failure: Failure) -> None:
        core.report_delay(failure)
        core.started()
        core.retry_later(inputs)
        # audio may be recorded: it is not paused, and if it was to be resumed, it is not paused any more
        error = failure.value if core.muted else None
        core.muted = False
        core.settle_change(error)

    @pep614(waiting.upon(MonitorInputs.retry).to(starting))
    def start_late(inputs: MonitorInputs, core: MonitorCore) -> None:
        core.retry_timer.cancel()
        run_start(inputs, core, again=False)

    @pep614(uncertain.upon(MonitorInputs.retry).to(starting))
    def find_out(inputs: MonitorInputs, core: MonitorCore) -> None:
        core.retry_timer.cancel()
        run_start(inputs, core, again=True)

    for state in started:
        pep614(state.upon(MonitorInputs.retry).loop())(repeat)

    # Another MixMonitor continues the files: Asterisk has replaced the caller's channel, with which a MixMonitor ends,
    # or the far end, whose audio the decoder of the present one may drop.

    def use_channel(inputs: MonitorInputs, core: MonitorCore, channel: str) -> None:
        core.channel = channel

    for state in (*delayed, suspended, moving):
        pep614(state.upon(MonitorInputs.use_channel).loop())(use_channel)

    def leave(inputs: MonitorInputs, core: MonitorCore, channel: str) -> None:
        core.retry_timer.cancel()
        core.polling.cancel()
        Deferred.fromCoroutine(core.leave(inputs, channel))

    def renew(inputs: MonitorInputs, core: MonitorCore) -> None:
        leave(inputs, core, core.channel)

    for state in started:
        pep614(state.upon(MonitorInputs.use_channel).to(moving))(leave)
        pep614(state.upon(MonitorInputs.renew).to(moving))(renew)

    @pep614(moving.upon(MonitorInputs.not_left).to(recording))
    def continue_former(inputs: MonitorInputs, core: MonitorCore) -> None:
        Deferred.fromCoroutine(core.carry_out_change(inputs, is_muted=not core.muted))

    @pep614(moving.upon(MonitorInputs.left).loop())
    def watch_former(inputs: MonitorInputs, core: MonitorCore, gap: float) -> None:
        core.retry_timer.start(gap, lambda: core.watch_end(inputs.moved))

    pep614(moving.upon(MonitorInputs.moved).to(starting))(start_unless_paused)
    # a pause that failed after the recording was suspended
    pep614(suspended.upon(MonitorInputs.retry).to(starting))(start_unless_paused)

    # a command to start a MixMonitor on a channel that was replaced meanwhile
    starting.upon(MonitorInputs.use_channel).to(ending).returns(None)

    # Calls that are taken over from another process.

    @pep614(idle.upon(MonitorInputs.found).to(recording))
    def found(inputs: MonitorInputs, core: MonitorCore, monitor: str, muted: bool) -> None:
        core.monitor, core.muted = monitor, muted
        repeat(inputs, core)

    @pep614(idle.upon(MonitorInputs.found_suspended).to(moving))
    def found_suspended(inputs: MonitorInputs, core: MonitorCore) -> None:
        core.muted = core.appends = True
        core.watch_end(inputs.moved)

    # Pauses.

    def mute(inputs: MonitorInputs, core: MonitorCore) -> Deferred[None]:
        return Deferred.fromCoroutine(core.set_muted(inputs, muted=True))

    def unmute(inputs: MonitorInputs, core: MonitorCore) -> Deferred[None]:
        return Deferred.fromCoroutine(core.set_muted(inputs, muted=False))

    def mute_later(inputs: MonitorInputs, core: MonitorCore) -> Deferred[None]:
        return core.request_change(muted=True)

    def unmute_later(inputs: MonitorInputs, core: MonitorCore) -> Deferred[None]:
        return core.request_change(muted=False)

    def begin_paused(inputs: MonitorInputs, core: MonitorCore) -> Deferred[None]:
        core.muted = True
        return succeed(None)

    def begin_audible(inputs: MonitorInputs, core: MonitorCore) -> Deferred[None]:
        core.muted = False
        return succeed(None)

    def cannot_change(inputs: MonitorInputs, core: MonitorCore) -> Deferred[None]:
        return fail(core.not_recorded())

    def do_nothing(inputs: MonitorInputs, core: MonitorCore) -> Deferred[None]:
        return succeed(None)

    def suspend(inputs: MonitorInputs, core: MonitorCore) -> None:
        core.retry_timer.cancel()
        core.started()
        if core.appends or not core.is_late:  # else the files begin when the recording starts
            core.suspended(core.recorded)

    for state in (starting, waiting):
        pep614(state.upon(MonitorInputs.suspend).to(suspended))(suspend)

    @pep614(waiting.upon(MonitorInputs.mute).to(starting))
    def suspend_unstarted(inputs: MonitorInputs, core: MonitorCore) -> Deferred[None]:
        changed = core.request_change(muted=True)
        start_unless_paused(inputs, core)
        return changed

    @pep614(suspended.upon(MonitorInputs.unmute).to(starting))
    def start_audible(inputs: MonitorInputs, core: MonitorCore) -> Deferred[None]:
        changed = core.request_change(muted=False)
        start_unless_paused(inputs, core)
        return changed

    def continue_suspended(inputs: MonitorInputs, core: MonitorCore) -> None:
        core.former, core.appends = core.monitor, True
        core.watch_end(inputs.moved)

    for state in started:
        pep614(state.upon(MonitorInputs.interrupted).to(moving))(continue_suspended)
        pep614(state.upon(MonitorInputs.mute).loop())(mute)
        pep614(state.upon(MonitorInputs.unmute).loop())(unmute)
    for state in (starting, moving):
        pep614(state.upon(MonitorInputs.mute).loop())(mute_later)
        pep614(state.upon(MonitorInputs.unmute).loop())(unmute_later)
    for state in (waiting, uncertain, *finishing):
        pep614(state.upon(MonitorInputs.unmute).loop())(cannot_change)
    for state in (uncertain, *finishing):
        pep614(state.upon(MonitorInputs.mute).loop())(cannot_change)
    for state in (suspended, closed):
        pep614(state.upon(MonitorInputs.mute).loop())(do_nothing)
    pep614(idle.upon(MonitorInputs.mute).loop())(begin_paused)
    pep614(idle.upon(MonitorInputs.unmute).loop())(begin_audible)
    pep614(closed.upon(MonitorInputs.unmute).loop())(do_nothing)

    # The end.

    def stop(inputs: MonitorInputs, core: MonitorCore) -> None:
        def failed(failure: Failure) -> None:
            inputs.stop_failed(failure)

        core.retry_timer.cancel()
        # the thread of a MixMonitor that has just started may still open its files: only they tell the end
        core.commands.stop(core.channel, core.monitor).addCallbacks(lambda _: inputs.lost(), failed)

    def stop_begun(inputs: MonitorInputs, core: MonitorCore, monitor: str) -> None:
        core.monitor, core.expected = monitor, frozenset(Side)
        stop(inputs, core)

    for state in (*delayed, *started):
        pep614(state.upon(MonitorInputs.stop).to(stopping))(stop)
    pep614(stop_waiting.upon(MonitorInputs.retry).to(stopping))(stop)
    pep614(cancelling.upon(MonitorInputs.begun).to(stopping))(stop_begun)

    @pep614(stopping.upon(MonitorInputs.stop_failed).to(stop_waiting))
    @pep614(cancelling.upon(MonitorInputs.unsent).to(stop_waiting))
    @pep614(cancelling.upon(MonitorInputs.unavailable).to(stop_waiting))
    def stop_failed(inputs: MonitorInputs, core: MonitorCore, failure: Failure) -> None:
        core.report_stop_failure(failure)
        core.retry_later(inputs)

    def watch_end(inputs: MonitorInputs, core: MonitorCore) -> None:
        core.watch_end(inputs.closed)

    for state in (*delayed, suspended, moving, *started, stopping, stop_waiting):
        pep614(state.upon(MonitorInputs.call_ended).to(closing))(watch_end)
    for state in (suspended, moving):
        pep614(state.upon(MonitorInputs.stop).to(closing))(watch_end)
    for state in (*started, stopping):
        pep614(state.upon(MonitorInputs.lost).to(closing))(watch_end)
    pep614(idle.upon(MonitorInputs.found_files).to(closing))(watch_end)

    @pep614(closing.upon(MonitorInputs.stop).loop())
    def stop_closing(inputs: MonitorInputs, core: MonitorCore) -> None:
        core.commands.stop(core.channel, core.monitor).addErrback(core.report_stop_failure)

    @pep614(ending.upon(MonitorInputs.begun).to(closing))
    def watch_end_of_begun(inputs: MonitorInputs, core: MonitorCore, monitor: str) -> None:
        core.monitor, core.expected = monitor, frozenset(Side)
        core.watch_end(inputs.closed)

    @pep614(ending.upon(MonitorInputs.unsent).to(closing))
    @pep614(ending.upon(MonitorInputs.unavailable).to(closing))
    @pep614(ending.upon(MonitorInputs.refused).to(closing))
    def watch_end_of_unconfirmed(inputs: MonitorInputs, core: MonitorCore, failure: Failure) -> None:
        core.watch_end(inputs.closed)

    def end(inputs: MonitorInputs, core: MonitorCore) -> None:
        core.retry_timer.cancel()
        core.started()
        core.over()
        core.settle_change(core.not_recorded())

    def end_everything(inputs: MonitorInputs, core: MonitorCore) -> None:
        core.polling.cancel()
        end(inputs, core)

    pep614(idle.upon(MonitorInputs.closed).to(closed))(end)
    for state in (starting, *delayed, suspended, moving, *started, *finishing):
        pep614(state.upon(MonitorInputs.closed).to(closed))(end_everything)
    pep614(idle.upon(MonitorInputs.call_ended).to(closed))(end)

    # Another process continues, also with a recording that is only due, which it finds in the database.

    pep614(idle.upon(MonitorInputs.detach).to(closed))(end)

    def detach(inputs: MonitorInputs, core: MonitorCore) -> None:
        core.polling.cancel()
        core.retry_timer.cancel()
        core.settle_change(core.not_recorded())

    for state in (starting, *delayed, suspended, moving, *started, *finishing):
        pep614(state.upon(MonitorInputs.detach).to(closed))(detach)

    return build(builder)


monitor_machine = _make_machine()
"""Makes the machine of the recording of one call, with the state ``idle``."""
