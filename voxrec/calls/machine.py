"""The call machine: from the caller's INVITE to the last file closed.

Read `_make_machine` as a table. What arrives from Asterisk becomes an input; what an input does to Asterisk is a method
of `Core`. Failures of Asterisk's answers come back as inputs too, so that every way through a call stands here.
"""

from collections.abc import Callable

from automat import TypeMachineBuilder, pep614

from voxrec.calls.causes import Cause
from voxrec.calls.core import CallInputs, Core
from voxrec.model import CallState, EventType, Side

_RECORDING_LIMIT = 3.0  # seconds that Asterisk may take to open both files before the call goes on without waiting
_ANNOUNCEMENT_LIMIT = 120.0  # seconds after which a call goes on even if Asterisk forgot to say that all was played


def _make_machine() -> Callable[[Core], CallInputs]:
    builder = TypeMachineBuilder(CallInputs, Core)

    new = builder.state("new")
    placing = builder.state("placing")
    ringing = builder.state("ringing")
    connecting = builder.state("connecting")
    announcing = builder.state("announcing")
    talking = builder.state("talking")
    clearing = builder.state("clearing")
    over = builder.state("over")
    unanswered = (placing, ringing)
    answered = (connecting, announcing, talking)

    # Transitions without behaviour: what comes twice, or too late to matter.

    for state in (*answered, clearing, over):
        state.upon(CallInputs.setup_failed).loop().returns(None)
        state.upon(CallInputs.leg_answered).loop().returns(None)
    for state in (ringing, *answered, over):
        state.upon(CallInputs.leg_entered).loop().returns(None)
    for state in (*unanswered, announcing, talking, clearing, over):
        state.upon(CallInputs.recording_runs).loop().returns(None)
    for state in (*unanswered, connecting, talking, clearing, over):
        state.upon(CallInputs.announcement_ended).loop().returns(None)
    for state in (clearing, over):
        state.upon(CallInputs.release).loop().returns(None)
    for state in (*unanswered, connecting, announcing, clearing, over):
        state.upon(CallInputs.record).loop().returns(None)
    over.upon(CallInputs.leg_left).loop().returns(None)
    over.upon(CallInputs.caller_left).loop().returns(None)
    placing.upon(CallInputs.leg_answered).loop().returns(None)

    # The way of a call that succeeds.

    @pep614(new.upon(CallInputs.begin).to(placing))
    def place(inputs: CallInputs, core: Core) -> None:
        core.status = CallState.PLACING
        core.wait(core.settings.setup_timeout)
        core.leg_there = True
        core.step(core.place())

    @pep614(placing.upon(CallInputs.leg_entered).to(ringing))
    def ring(inputs: CallInputs, core: Core) -> None:
        core.status = CallState.RINGING
        core.wait(core.ring_timeout)
        core.step(core.dial())

    @pep614(ringing.upon(CallInputs.leg_answered).to(connecting))
    def connect(inputs: CallInputs, core: Core) -> None:
        core.status = CallState.CONNECTING
        core.wait(_RECORDING_LIMIT)
        core.answered_at = core.now()
        core.step(core.connect())
        core.tell(EventType.CALL_ANSWERED)
        if core.recorder is None:
            inputs.recording_runs()

    @pep614(connecting.upon(CallInputs.recording_runs).to(announcing))
    def announce(inputs: CallInputs, core: Core) -> None:
        core.status = CallState.ANNOUNCING
        core.wait(_ANNOUNCEMENT_LIMIT)
        if core.announces:
            core.step(core.announce())
        else:
            inputs.announcement_ended(complete=True)

    @pep614(announcing.upon(CallInputs.announcement_ended).to(talking))
    def talk(inputs: CallInputs, core: Core, complete: bool) -> None:
        core.status = CallState.TALKING
        core.wait_for_limit()
        core.announced(complete=complete)
        core.beep()

    @pep614(talking.upon(CallInputs.record).to(connecting))
    def record(inputs: CallInputs, core: Core) -> None:
        core.status = CallState.CONNECTING
        core.wait(_RECORDING_LIMIT)
        core.make_recorder()
        core.step(core.record())
        if core.recorder is None:
            inputs.recording_runs()

    # A call that another process brought so far: `Core` knows by now what is there.

    @pep614(new.upon(CallInputs.found_placing).to(placing))
    def go_on_placing(inputs: CallInputs, core: Core) -> None:
        core.status = CallState.PLACING
        core.wait(core.settings.setup_timeout)

    @pep614(new.upon(CallInputs.found_ringing).to(ringing))
    def go_on_ringing(inputs: CallInputs, core: Core) -> None:
        core.status = CallState.RINGING
        core.wait(max(1.0, core.ring_timeout - core.since(core.started_at)))

    @pep614(new.upon(CallInputs.found_announcing).to(announcing))
    def go_on_announcing(inputs: CallInputs, core: Core) -> None:
        core.status = CallState.ANNOUNCING
        core.wait(_ANNOUNCEMENT_LIMIT)

    @pep614(new.upon(CallInputs.found_talking).to(talking))
    def go_on_talking(inputs: CallInputs, core: Core) -> None:
        core.status = CallState.TALKING
        core.wait_for_limit()

    # What may go wrong on it without ending the call.

    @pep614(connecting.upon(CallInputs.too_late).loop())
    def go_on_unconfirmed(inputs: CallInputs, core: Core) -> None:
        core.log.error("call {call}: Asterisk does not say that it records", call=core.call_id)
        core.note("recording.unconfirmed")
        inputs.recording_runs()

    @pep614(announcing.upon(CallInputs.too_late).loop())
    def go_on_unannounced(inputs: CallInputs, core: Core) -> None:
        inputs.announcement_ended(complete=False)

    # Ways out. An unanswered caller is told the far end's own cause; 0 is a far end that could not be reached.

    def refuse(inputs: CallInputs, core: Core, cause: int) -> None:
        core.leg_there = False
        core.clear(cause=cause or Cause.CONGESTION, by=Side.CALLEE)

    def callee_hung_up(inputs: CallInputs, core: Core, cause: int) -> None:
        core.leg_there = False
        core.clear(cause=cause or Cause.NORMAL, by=Side.CALLEE)

    def caller_hung_up(inputs: CallInputs, core: Core, cause: int) -> None:
        core.caller_there = False
        core.clear(cause=cause or Cause.NORMAL, by=Side.CALLER)

    def release(inputs: CallInputs, core: Core, cause: int) -> None:
        core.clear(cause=cause, by="voxrec")

    def cannot(inputs: CallInputs, core: Core) -> None:
        core.clear(cause=Cause.CONGESTION, by="voxrec")

    for state in unanswered:
        pep614(state.upon(CallInputs.leg_left).to(clearing))(refuse)
        pep614(state.upon(CallInputs.setup_failed).to(clearing))(cannot)
    for state in answered:
        pep614(state.upon(CallInputs.leg_left).to(clearing))(callee_hung_up)
    for state in (*unanswered, *answered):
        pep614(state.upon(CallInputs.caller_left).to(clearing))(caller_hung_up)
        pep614(state.upon(CallInputs.release).to(clearing))(release)
    pep614(placing.upon(CallInputs.too_late).to(clearing))(cannot)

    @pep614(ringing.upon(CallInputs.too_late).to(clearing))
    def no_answer(inputs: CallInputs, core: Core) -> None:
        core.clear(cause=Cause.NO_ANSWER, by="voxrec")

    @pep614(talking.upon(CallInputs.too_late).to(clearing))
    def long_enough(inputs: CallInputs, core: Core) -> None:
        core.log.info("call {call}: as long as it may be", call=core.call_id)
        core.clear(cause=Cause.NORMAL, by="voxrec")

    # The end: whichever goes last.

    def leg_gone(inputs: CallInputs, core: Core, cause: int) -> None:
        core.leg_there = False
        core.check_cleared()

    def caller_gone(inputs: CallInputs, core: Core, cause: int) -> None:
        core.caller_there = False
        core.check_cleared()

    # a new one learns of it while it finds out how a call that it takes over stands
    for state in (new, clearing):
        pep614(state.upon(CallInputs.leg_left).loop())(leg_gone)
        pep614(state.upon(CallInputs.caller_left).loop())(caller_gone)

    @pep614(clearing.upon(CallInputs.leg_entered).loop())
    def leg_too_late(inputs: CallInputs, core: Core) -> None:
        core.attempt(core.end_leg())

    @pep614(clearing.upon(CallInputs.too_late).to(over))
    def clear_by_force(inputs: CallInputs, core: Core) -> None:
        core.log.warn("call {call}: Asterisk did not end all of it in time", call=core.call_id)
        core.finish()

    @pep614(clearing.upon(CallInputs.cleared).to(over))
    def end(inputs: CallInputs, core: Core) -> None:
        core.finish()

    def leave(inputs: CallInputs, core: Core) -> None:
        core.let_go()

    for state in (new, *unanswered, *answered, clearing):
        pep614(state.upon(CallInputs.let_go).to(over))(leave)
    over.upon(CallInputs.let_go).loop().returns(None)

    # While it finds out, nothing else matters: it asks Asterisk how things stand anyway.

    for passed_over in (
        CallInputs.leg_entered,
        CallInputs.leg_answered,
        CallInputs.recording_runs,
        CallInputs.announcement_ended,
        CallInputs.record,
        CallInputs.release,
    ):
        new.upon(passed_over).loop().returns(None)

    return builder.build()


machine = _make_machine()
"""Makes the state of one call, driven through its `CallInputs`."""
