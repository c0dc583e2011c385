"""The call machine: every path of a call from the caller's INVITE until nothing of it is left in Asterisk.

Events from Asterisk, requests from REST and the outcomes of commands are its inputs. The machines of transfers,
recordings and pauses (in the modules `transfer`, `monitor`, `recording_log` and `pause`) are subordinate to it.
"""

from collections.abc import Callable
from typing import Final

from automat import TypeMachineBuilder, pep614

from voxrec.calls import replacement_steps
from voxrec.calls.call_core import ANNOUNCEMENT_CHECK, RECORDING_TIMEOUT, CallCore, CallInputs
from voxrec.calls.channels.resources import RECORDING
from voxrec.calls.invitation_steps import add_invitation
from voxrec.calls.signalling.causes import Cause
from voxrec.calls.transfers.transfer import TRANSFER_REFUSED, TransferRequest
from voxrec.machine_builder import build
from voxrec.model import CallState, EventType, Side

_VOXREC: Final = "voxrec"  # as the party that ended a call


def _make_machine() -> Callable[[CallCore], CallInputs]:
    builder = TypeMachineBuilder(CallInputs, CallCore)

    # States. They correspond to `CallState`, but `ringing` has two: `ringing` since the far end is being called, and
    # `alerting` since it has reported that it rings. A call is `new` until it begins or is taken over.

    new = builder.state("new")
    calling = builder.state("calling")
    placing = builder.state("placing")
    ringing = builder.state("ringing")
    alerting = builder.state("alerting")
    connecting = builder.state("connecting")
    announcing = builder.state("announcing")
    talking = builder.state("talking")
    clearing = builder.state("clearing")
    over = builder.state("over")
    dialled = (ringing, alerting)
    unanswered = (placing, *dialled)
    answered = (connecting, announcing, talking)
    ending = (clearing, over)

    # Transitions without behaviour: duplicates, and outcomes and events that are too late to matter.

    for state in (new, *dialled, *answered, *ending):
        state.upon(CallInputs.bridge_created).loop().returns(None)
    for state in (new, placing, alerting, *answered, *ending):
        state.upon(CallInputs.leg_joined).loop().returns(None)
        state.upon(CallInputs.leg_rings).loop().returns(None)
        state.upon(CallInputs.leg_is_silent).loop().returns(None)
    for state in (*answered, *ending):
        state.upon(CallInputs.setup_failed).loop().returns(None)
    for state in (new, *unanswered, announcing, talking, *ending):
        state.upon(CallInputs.recording_started).loop().returns(None)
    for state in (new, *unanswered, connecting, talking, *ending):
        state.upon(CallInputs.announcement_finished).loop().returns(None)
        state.upon(CallInputs.announcement_lost).loop().returns(None)
    for state in (new, *unanswered, *ending):
        state.upon(CallInputs.duration_reached).loop().returns(None)
    for state in (new, *unanswered, connecting, announcing, *ending):
        state.upon(CallInputs.record).loop().returns(None)
    for state in (new, *unanswered, over):
        state.upon(CallInputs.recording_closed).loop().returns(None)
    for state in (new, placing, *ending):
        state.upon(CallInputs.leg_answered).loop().returns(None)
        state.upon(CallInputs.transfer_forbidden).loop().returns(None)
        state.upon(CallInputs.transfer_failed).loop().returns(None)
    for state in (new, *ending):
        state.upon(CallInputs.replacement_failed).loop().returns(None)
        state.upon(CallInputs.release).loop().returns(None)
    for state in (new, clearing):
        state.upon(CallInputs.leg_left).loop().returns(None)
    # the state in Asterisk, which is read while the call is new, includes that the leg has entered
    new.upon(CallInputs.leg_entered).loop().returns(None)
    for ignored in (
        CallInputs.leg_entered,
        CallInputs.leg_hung_up,
        CallInputs.leg_redirected,
        CallInputs.leg_left,
        CallInputs.caller_hung_up,
        CallInputs.caller_left,
        CallInputs.channel_not_found,
        CallInputs.detach,
    ):
        over.upon(ignored).loop().returns(None)

    # Transitions with behaviour: the path of a call that succeeds.

    @pep614(new.upon(CallInputs.begin).to(placing))
    def place(inputs: CallInputs, call: CallCore) -> None:
        call.enter(inputs, CallState.PLACING, call.data.settings.setup_timeout)
        call.connection.let_caller_wait()
        if call.legs.can_pipeline:
            call.steps.run(call.legs.create_leg(), failed=inputs.setup_failed)
            call.steps.run(call.legs.create_bridge(), failed=inputs.setup_failed)
        else:
            created = inputs.bridge_created
            call.steps.run(call.legs.create_bridge(), succeeded=lambda _: created(), failed=inputs.setup_failed)

    @pep614(placing.upon(CallInputs.bridge_created).loop())
    def create_leg(inputs: CallInputs, call: CallCore) -> None:
        call.steps.run(call.legs.create_leg(), failed=inputs.setup_failed)

    @pep614(placing.upon(CallInputs.leg_entered).to(ringing))
    def join(inputs: CallInputs, call: CallCore) -> None:
        call.enter(inputs, CallState.RINGING, call.data.ring_timeout)
        call.watch_silence(inputs)
        call.join_leg(inputs)

    @pep614(ringing.upon(CallInputs.leg_joined).loop())
    def dial(inputs: CallInputs, call: CallCore) -> None:
        call.steps.run(call.legs.dial(), failed=inputs.setup_failed)

    @pep614(ringing.upon(CallInputs.leg_rings).to(alerting))
    @pep614(ringing.upon(CallInputs.leg_is_silent).to(alerting))
    def alert(inputs: CallInputs, call: CallCore) -> None:
        call.silence_check.cancel()
        call.steps.attempt(call.legs.ring_caller())
        call.publish(EventType.CALL_RINGING)

    @pep614(ringing.upon(CallInputs.leg_answered).to(connecting))
    @pep614(alerting.upon(CallInputs.leg_answered).to(connecting))
    def connect(inputs: CallInputs, call: CallCore) -> None:
        # the caller waits for the answer, so it is sent before anything else
        call.connect_caller(inputs)
        call.enter(inputs, CallState.CONNECTING, RECORDING_TIMEOUT)
        call.data.answered_at = call.data.now()
        call.limit_duration(inputs)
        call.transfer.leg_answered()
        if call.data.profile.record:
            call.recording.prepare()
        else:
            call.steps.attempt(call.legs.store_answer())
        call.start_recording(inputs)
        call.publish(EventType.CALL_ANSWERED)

    @pep614(connecting.upon(CallInputs.recording_started).to(announcing))
    def announce(inputs: CallInputs, call: CallCore) -> None:
        call.enter(inputs, CallState.ANNOUNCING, ANNOUNCEMENT_CHECK)
        call.start_announcement(inputs)

    pep614(announcing.upon(CallInputs.announcement_lost).loop())(announce)

    @pep614(announcing.upon(CallInputs.announcement_finished).to(talking))
    def talk(inputs: CallInputs, call: CallCore, complete: bool) -> None:
        call.enter_talking()
        call.recording.finish_announcement(complete=complete)
        call.steps.attempt(call.recording.store_announced())
        call.recording.start_beeps()

    @pep614(talking.upon(CallInputs.record).to(connecting))
    def record(inputs: CallInputs, call: CallCore) -> None:
        call.enter(inputs, CallState.CONNECTING, RECORDING_TIMEOUT)
        call.recording.prepare()
        call.start_recording(inputs)

    # Calls that are taken over from another process.

    @pep614(new.upon(CallInputs.found_placing).to(placing))
    def continue_placing(inputs: CallInputs, call: CallCore) -> None:
        call.enter(inputs, CallState.PLACING, call.data.settings.setup_timeout)
        call.transfer.taken_over_too_early()

    @pep614(new.upon(CallInputs.found_ringing).to(ringing))
    def continue_ringing(inputs: CallInputs, call: CallCore) -> None:
        rung = call.data.seconds_since(call.data.started_at)
        call.enter(inputs, CallState.RINGING, max(1.0, call.data.ring_timeout - rung))
        call.watch_silence(inputs)
        call.transfer.taken_over()

    @pep614(new.upon(CallInputs.found_announcing).to(announcing))
    def continue_announcing(inputs: CallInputs, call: CallCore) -> None:
        call.enter(inputs, CallState.ANNOUNCING, ANNOUNCEMENT_CHECK)
        call.limit_duration(inputs)
        call.watch_recording(inputs)
        call.transfer.taken_over()

    @pep614(new.upon(CallInputs.found_unannounced).to(announcing))
    def announce_again(inputs: CallInputs, call: CallCore) -> None:
        continue_announcing(inputs, call)
        call.start_announcement(inputs)

    @pep614(new.upon(CallInputs.found_talking).to(talking))
    def continue_talking(inputs: CallInputs, call: CallCore) -> None:
        call.enter_talking()
        call.limit_duration(inputs)
        call.watch_recording(inputs)
        call.transfer.taken_over()

    # Transfers. Only a leg that has answered can transfer a call, so `ringing` means that its answer is still to come.

    def transfer(inputs: CallInputs, call: CallCore, request: TransferRequest) -> None:
        call.transfer.requested(request)

    @pep614(ringing.upon(CallInputs.transfer_requested).loop())
    @pep614(alerting.upon(CallInputs.transfer_requested).loop())
    def transfer_unanswered(inputs: CallInputs, call: CallCore, request: TransferRequest) -> None:
        # the transfer has time limits of its own
        call.enter(inputs, CallState.RINGING, call.data.settings.setup_timeout + 2 * call.data.ring_timeout)
        call.transfer.requested(request)

    @pep614(new.upon(CallInputs.transfer_requested).loop())
    def postpone_transfer(inputs: CallInputs, call: CallCore, request: TransferRequest) -> None:
        call.transfer.requested_early(request)

    def refuse_transfer(inputs: CallInputs, call: CallCore, request: TransferRequest) -> None:
        call.transfer_core.refuse(request)

    def target_entered(inputs: CallInputs, call: CallCore) -> None:
        call.transfer.leg_entered()

    def target_answered(inputs: CallInputs, call: CallCore) -> None:
        call.transfer.leg_answered()

    for state in answered:
        pep614(state.upon(CallInputs.transfer_requested).loop())(transfer)
        pep614(state.upon(CallInputs.leg_answered).loop())(target_answered)
    for state in (*dialled, *answered):
        pep614(state.upon(CallInputs.leg_entered).loop())(target_entered)
    for state in (placing, *ending):
        pep614(state.upon(CallInputs.transfer_requested).loop())(refuse_transfer)

    # Channels that Asterisk itself has replaced. The current leg cannot be before it was dialled.

    for state in (*unanswered, *answered):
        pep614(state.upon(CallInputs.caller_replaced).loop())(replacement_steps.replace_caller)
        pep614(state.upon(CallInputs.leg_left).loop())(replacement_steps.watch_departed_leg)
    for state in (*dialled, *answered):
        pep614(state.upon(CallInputs.leg_replaced).loop())(replacement_steps.replace_leg)
    for state in (new, *ending):
        pep614(state.upon(CallInputs.caller_replaced).loop())(replacement_steps.refuse_replacement)
    for state in (new, placing, *ending):
        pep614(state.upon(CallInputs.leg_replaced).loop())(replacement_steps.refuse_replacement)

    # Failures that do not end the call.

    @pep614(connecting.upon(CallInputs.timed_out).to(announcing))
    def continue_unconfirmed(inputs: CallInputs, call: CallCore) -> None:
        call.log.error("call {call}: Asterisk does not confirm that it records; the call continues", call=call.data.id)
        call.recording.note("recording.unconfirmed")
        announce(inputs, call)

    @pep614(announcing.upon(CallInputs.timed_out).loop())
    def check_announcement(inputs: CallInputs, call: CallCore) -> None:
        call.enter(inputs, CallState.ANNOUNCING, ANNOUNCEMENT_CHECK)
        call.check_announcement(inputs)

    def end_recording(inputs: CallInputs, call: CallCore) -> None:
        call.resources.gone(RECORDING)
        call.recording.end_early()

    for state in answered:
        pep614(state.upon(CallInputs.recording_closed).loop())(end_recording)

    # The far end of the unanswered call redirects it.

    def redirect(inputs: CallInputs, call: CallCore, callee: str) -> None:
        call.resources.gone(call.legs.current)
        call.enter(inputs, CallState.PLACING, call.data.settings.setup_timeout)
        call.legs.use_next_leg(callee)
        call.steps.run(call.legs.create_leg(), failed=inputs.setup_failed)

    for state in unanswered:
        pep614(state.upon(CallInputs.leg_redirected).to(placing))(redirect)

    # The call ends. The caller gets the SIP status of an unanswered far end, as far as it is known, and its cause.
    # Cause 0 means that it could not be reached.

    def refused(inputs: CallInputs, call: CallCore, cause: int) -> None:
        call.explain_failure()
        call.resources.gone(call.legs.current)
        call.clear(inputs, cause=cause or Cause.CONGESTION, by=Side.CALLEE, status=call.legs.refusal_status)

    def callee_hung_up(inputs: CallInputs, call: CallCore, cause: int) -> None:
        call.resources.gone(call.legs.current)
        call.clear(inputs, cause=cause or Cause.NORMAL, by=Side.CALLEE)

    def caller_hung_up(inputs: CallInputs, call: CallCore, cause: int) -> None:
        call.resources.gone(call.data.inbound.channel)
        call.clear(inputs, cause=cause or Cause.NORMAL, by=Side.CALLER)

    def caller_left(inputs: CallInputs, call: CallCore) -> None:
        caller_hung_up(inputs, call, Cause.NORMAL)
        replacement_steps.watch_departed_caller(call)

    def release(inputs: CallInputs, call: CallCore, cause: int) -> None:
        call.clear(inputs, cause=cause, by=_VOXREC)

    def setup_failed(inputs: CallInputs, call: CallCore) -> None:
        call.explain_failure()
        call.clear(inputs, cause=Cause.CONGESTION, by=_VOXREC)

    def transfer_failed(inputs: CallInputs, call: CallCore) -> None:
        call.clear(inputs, cause=Cause.NORMAL, by=Side.CALLEE)

    def transfer_forbidden(inputs: CallInputs, call: CallCore) -> None:
        call.recording.note(TRANSFER_REFUSED, by=Side.CALLEE)
        call.clear(inputs, cause=Cause.NORMAL, by=Side.CALLEE)

    for state in unanswered:
        pep614(state.upon(CallInputs.leg_hung_up).to(clearing))(refused)
        pep614(state.upon(CallInputs.setup_failed).to(clearing))(setup_failed)
    for state in answered:
        pep614(state.upon(CallInputs.leg_hung_up).to(clearing))(callee_hung_up)
    for state in (*unanswered, *answered):
        pep614(state.upon(CallInputs.caller_hung_up).to(clearing))(caller_hung_up)
        pep614(state.upon(CallInputs.caller_left).to(clearing))(caller_left)
        pep614(state.upon(CallInputs.replacement_failed).to(clearing))(setup_failed)
        pep614(state.upon(CallInputs.release).to(clearing))(release)
    for state in (*dialled, *answered):
        pep614(state.upon(CallInputs.transfer_failed).to(clearing))(transfer_failed)
        pep614(state.upon(CallInputs.transfer_forbidden).to(clearing))(transfer_forbidden)
    pep614(placing.upon(CallInputs.timed_out).to(clearing))(setup_failed)

    @pep614(alerting.upon(CallInputs.timed_out).to(clearing))
    def no_answer(inputs: CallInputs, call: CallCore) -> None:
        call.clear(inputs, cause=Cause.NO_ANSWER, by=_VOXREC)

    @pep614(ringing.upon(CallInputs.timed_out).to(clearing))
    def no_response(inputs: CallInputs, call: CallCore) -> None:
        call.explain_failure()
        call.clear(inputs, cause=Cause.NO_ANSWER if call.legs.has_progressed else Cause.NO_RESPONSE, by=_VOXREC)

    def maximum_duration(inputs: CallInputs, call: CallCore) -> None:
        call.log.info("call {call}: maximum call duration reached; ending it", call=call.data.id)
        call.clear(inputs, cause=Cause.NORMAL, by=_VOXREC)

    for state in answered:
        pep614(state.upon(CallInputs.duration_reached).to(clearing))(maximum_duration)

    # Clearing: until the channels and the files are gone. A new call may lose a channel while it is being taken over.

    def leg_gone(inputs: CallInputs, call: CallCore, cause: int) -> None:
        call.resources.gone(call.legs.current)

    def caller_gone(inputs: CallInputs, call: CallCore, cause: int = Cause.NORMAL) -> None:
        call.departure.cancel()
        call.resources.gone(call.data.inbound.channel)

    def target_redirected(inputs: CallInputs, call: CallCore, callee: str) -> None:
        call.resources.gone(call.legs.current)
        call.transfer.redirected(callee)

    for state in (new, *answered, clearing):
        pep614(state.upon(CallInputs.leg_redirected).loop())(target_redirected)
    for state in (new, clearing):
        pep614(state.upon(CallInputs.caller_left).loop())(caller_gone)
        pep614(state.upon(CallInputs.leg_hung_up).loop())(leg_gone)
    pep614(clearing.upon(CallInputs.caller_hung_up).loop())(caller_gone)

    @pep614(new.upon(CallInputs.caller_hung_up).loop())
    def caller_gone_early(inputs: CallInputs, call: CallCore, cause: int) -> None:
        caller_gone(inputs, call)
        call.steps.attempt(call.legs.hang_up(call.legs.current))  # now: its state may have to wait for PostgreSQL

    @pep614(clearing.upon(CallInputs.channel_not_found).loop())
    def channel_gone(inputs: CallInputs, call: CallCore, channel: str) -> None:
        call.resources.gone(channel)

    @pep614(clearing.upon(CallInputs.recording_closed).loop())
    def recording_gone(inputs: CallInputs, call: CallCore) -> None:
        call.resources.gone(RECORDING)

    @pep614(clearing.upon(CallInputs.leg_entered).loop())
    def leg_entered_late(inputs: CallInputs, call: CallCore) -> None:
        call.hang_up(inputs, call.legs.current)

    @pep614(clearing.upon(CallInputs.cleared).to(over))
    def finish(inputs: CallInputs, call: CallCore) -> None:
        call.data.status = CallState.OVER
        call.cancel_timers()
        call.steps.attempt(call.legs.destroy_bridge())
        call.steps.attempt(call.connection.release())
        call.recording.release()
        call.over()

    @pep614(clearing.upon(CallInputs.timed_out).to(over))
    def clear_by_force(inputs: CallInputs, call: CallCore) -> None:
        call.warn_of_remains()
        finish(inputs, call)

    def detach(inputs: CallInputs, call: CallCore) -> None:
        call.cancel_timers()
        call.replacements.cancel()
        call.transfer.detach()
        call.recording.detach()

    for state in (new, *unanswered, *answered, clearing):
        pep614(state.upon(CallInputs.detach).to(over))(detach)
    over.upon(CallInputs.cleared).loop().returns(None)
    add_invitation(new, calling, placing, clearing, over, others=(*unanswered, *answered), place=place)
    return build(builder)


call_machine = _make_machine()
"""Makes the machine of one call, with the state ``new``."""
