"""The part of the call machine in which a call is set up: the path of a call that succeeds."""

from automat import pep614

from voxrec.calls.call_core import ANNOUNCEMENT_CHECK, RECORDING_TIMEOUT, CallCore, CallInputs
from voxrec.calls.call_states import CallStates
from voxrec.calls.channels.resources import RECORDING
from voxrec.model import CallState, EventType


def place(inputs: CallInputs, call: CallCore) -> None:
    """Create the bridge and the leg to the far end."""
    call.enter(inputs, CallState.PLACING, call.data.settings.setup_timeout)
    call.connection.let_caller_wait()
    if call.legs.can_pipeline:
        call.steps.run(call.legs.create_leg(), failed=inputs.setup_failed)
        call.steps.run(call.legs.create_bridge(), failed=inputs.setup_failed)
    else:
        created = inputs.bridge_created
        call.steps.run(call.legs.create_bridge(), succeeded=lambda _: created(), failed=inputs.setup_failed)


def announce(inputs: CallInputs, call: CallCore) -> None:
    """Play the announcement to both parties, or again if Asterisk has lost it."""
    call.enter(inputs, CallState.ANNOUNCING, ANNOUNCEMENT_CHECK)
    call.start_announcement(inputs)


def add_setup(states: CallStates) -> None:
    """Add the transitions from the caller's INVITE to the conversation."""
    pep614(states.new.upon(CallInputs.begin).to(states.placing))(place)

    @pep614(states.placing.upon(CallInputs.bridge_created).loop())
    def create_leg(inputs: CallInputs, call: CallCore) -> None:
        call.steps.run(call.legs.create_leg(), failed=inputs.setup_failed)

    @pep614(states.placing.upon(CallInputs.leg_entered).to(states.ringing))
    def join(inputs: CallInputs, call: CallCore) -> None:
        call.enter(inputs, CallState.RINGING, call.data.ring_timeout)
        call.watch_silence(inputs)
        call.join_leg(inputs)

    @pep614(states.ringing.upon(CallInputs.leg_joined).loop())
    def dial(inputs: CallInputs, call: CallCore) -> None:
        call.steps.run(call.legs.dial(), failed=inputs.setup_failed)

    @pep614(states.ringing.upon(CallInputs.leg_rings).to(states.alerting))
    @pep614(states.ringing.upon(CallInputs.leg_is_silent).to(states.alerting))
    def alert(inputs: CallInputs, call: CallCore) -> None:
        call.silence_check.cancel()
        call.steps.attempt(call.legs.ring_caller())
        call.publish(EventType.CALL_RINGING)

    @pep614(states.ringing.upon(CallInputs.leg_answered).to(states.connecting))
    @pep614(states.alerting.upon(CallInputs.leg_answered).to(states.connecting))
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

    pep614(states.connecting.upon(CallInputs.recording_started).to(states.announcing))(announce)
    pep614(states.announcing.upon(CallInputs.announcement_lost).loop())(announce)

    @pep614(states.announcing.upon(CallInputs.announcement_finished).to(states.talking))
    def talk(inputs: CallInputs, call: CallCore, complete: bool) -> None:
        call.enter_talking()
        call.recording.finish_announcement(complete=complete)
        call.steps.attempt(call.recording.store_announced())
        call.recording.start_beeps()

    @pep614(states.talking.upon(CallInputs.record).to(states.connecting))
    def record(inputs: CallInputs, call: CallCore) -> None:
        call.enter(inputs, CallState.CONNECTING, RECORDING_TIMEOUT)
        call.recording.prepare()
        call.start_recording(inputs)


def add_setup_failures(states: CallStates) -> None:
    """Add the transitions for failures that do not end the call."""

    @pep614(states.connecting.upon(CallInputs.timed_out).to(states.announcing))
    def continue_unconfirmed(inputs: CallInputs, call: CallCore) -> None:
        call.log.error("call {call}: Asterisk does not confirm that it records; the call continues", call=call.data.id)
        call.recording.note("recording.unconfirmed")
        announce(inputs, call)

    @pep614(states.announcing.upon(CallInputs.timed_out).loop())
    def check_announcement(inputs: CallInputs, call: CallCore) -> None:
        call.enter(inputs, CallState.ANNOUNCING, ANNOUNCEMENT_CHECK)
        call.check_announcement(inputs)

    def end_recording(inputs: CallInputs, call: CallCore) -> None:
        call.resources.gone(RECORDING)
        call.recording.end_early()

    def note_superseded(inputs: CallInputs, call: CallCore) -> None:
        call.log.warn(
            "call {call}: another node has it as well, because this node responded late; it continues, since its far "
            "end has answered",
            call=call.data.id,
        )
        call.recording.note("superseded")

    for state in states.answered:
        pep614(state.upon(CallInputs.recording_closed).loop())(end_recording)
        pep614(state.upon(CallInputs.superseded).loop())(note_superseded)


def add_takeover(states: CallStates) -> None:
    """Add the transitions of calls that are taken over from another process."""

    @pep614(states.new.upon(CallInputs.found_placing).to(states.placing))
    def continue_placing(inputs: CallInputs, call: CallCore) -> None:
        call.enter(inputs, CallState.PLACING, call.data.settings.setup_timeout)
        call.transfer.taken_over_too_early()

    @pep614(states.new.upon(CallInputs.found_ringing).to(states.ringing))
    def continue_ringing(inputs: CallInputs, call: CallCore) -> None:
        rung = call.data.seconds_since(call.data.started_at)
        call.enter(inputs, CallState.RINGING, max(1.0, call.data.ring_timeout - rung))
        call.watch_silence(inputs)
        call.transfer.taken_over()

    @pep614(states.new.upon(CallInputs.found_announcing).to(states.announcing))
    def continue_announcing(inputs: CallInputs, call: CallCore) -> None:
        call.enter(inputs, CallState.ANNOUNCING, ANNOUNCEMENT_CHECK)
        call.limit_duration(inputs)
        call.watch_recording(inputs)
        call.transfer.taken_over()

    @pep614(states.new.upon(CallInputs.found_unannounced).to(states.announcing))
    def announce_again(inputs: CallInputs, call: CallCore) -> None:
        continue_announcing(inputs, call)
        call.start_announcement(inputs)

    @pep614(states.new.upon(CallInputs.found_talking).to(states.talking))
    def continue_talking(inputs: CallInputs, call: CallCore) -> None:
        call.enter_talking()
        call.limit_duration(inputs)
        call.watch_recording(inputs)
        call.transfer.taken_over()
