"""Continues a call that another process began, from the state that it has in Asterisk."""

from voxrec.calls.announcements.announcement_state import Announcement
from voxrec.calls.call_core import CallCore, CallInputs
from voxrec.calls.signalling.causes import Cause
from voxrec.calls.stasis.snapshot import CallSnapshot
from voxrec.model import ANNOUNCEMENT_FAILED, ANNOUNCEMENT_FINISHED, Profile, RecordPrompt


def take_over(call: CallCore, inputs: CallInputs, snapshot: CallSnapshot) -> None:
    """Put the machines of a new call into the states that correspond to ``snapshot``."""
    leg, caller = call.legs.current, call.data.inbound.channel
    if call.data.inbound.invited and not (snapshot.placed or snapshot.legs):
        _continue_calling(call, inputs, snapshot)
        return
    # a channel can also have gone since the snapshot, which the resources know
    leg_gone = not snapshot.leg_exists or leg not in call.resources
    caller_gone = not snapshot.caller_exists or caller not in call.resources
    for channel in snapshot.legs:
        call.resources.add(channel)
    if leg_gone:
        call.resources.gone(leg)
    answered = _is_answered(call, snapshot)
    if snapshot.caller_bridged and (not snapshot.caller_up or (call.data.inbound.invited and not answered)):
        call.connection.found_early_media()
    if answered:
        _continue_answered(call, inputs, snapshot)
        if not leg_gone and not snapshot.leg_up and leg == call.legs.current:
            _continue_transfer(call, snapshot)
    else:
        _continue_unanswered(inputs, snapshot, caller_gone=caller_gone, leg_gone=leg_gone)
    if caller_gone:
        inputs.caller_hung_up(Cause.NORMAL)
    if leg_gone and leg == call.legs.current:  # else a transfer that was requested meanwhile has replaced it
        inputs.leg_hung_up(Cause.NORMAL)


def _continue_calling(call: CallCore, inputs: CallInputs, snapshot: CallSnapshot) -> None:
    """Continue a call whose caller voxrec was calling."""
    inputs.found_calling()
    if not snapshot.caller_exists or call.data.inbound.channel not in call.resources:
        inputs.caller_hung_up(Cause.NORMAL)
    elif snapshot.caller_up:
        inputs.caller_answered()


def _is_answered(call: CallCore, snapshot: CallSnapshot) -> bool:
    """Return whether the call is beyond `connecting`."""
    if snapshot.was_recorded:
        return True  # recording begins after the answer
    if call.data.inbound.invited:  # it has answered before
        return snapshot.answered_at is not None
    return snapshot.caller_up and not call.data.profile.record


def _continue_unanswered(inputs: CallInputs, snapshot: CallSnapshot, *, caller_gone: bool, leg_gone: bool) -> None:
    if leg_gone or not snapshot.leg_entered:
        inputs.found_placing()
    elif not snapshot.leg_up and not snapshot.bridged:
        inputs.found_placing()
        inputs.leg_entered()
    else:
        inputs.found_ringing()
        if snapshot.leg_up and not caller_gone:
            inputs.leg_answered()


def _continue_answered(call: CallCore, inputs: CallInputs, snapshot: CallSnapshot) -> None:
    data, recording, stored = call.data, call.recording, snapshot.recording
    if snapshot.caller_up and snapshot.caller_bridged:
        call.connection.found_connected()
    elif snapshot.caller_exists and data.inbound.channel in call.resources:
        call.connect_caller(inputs)  # the other process may not have been able to
    began = snapshot.files_began or data.started_at
    data.answered_at = snapshot.answered_at or (stored.started_at if stored is not None else None) or began
    recording.has_recording = snapshot.was_recorded
    # A Recording that has ended has ended, even if Asterisk has not closed its files yet
    if stored.state.live if stored is not None else snapshot.was_recorded:
        recorder = recording.take_over(stored, began, _announcement(data.profile, snapshot))
        has_files = snapshot.files_began is not None
        recorder.take_over(snapshot.monitor, snapshot.pause, snapshot.stopped, has_files=has_files)
        recording.stop_unannounced()
    if snapshot.announcing:
        inputs.found_announcing()
    elif recording.lacks_announcement:
        inputs.found_unannounced()
    else:
        inputs.found_talking()
        recording.take_over_beeps(whisper_exists=snapshot.whisper_exists)


def _announcement(profile: Profile, snapshot: CallSnapshot) -> Announcement:
    """Return how far the announcement has got; `PENDING`, so that it is played again, if that is not known."""
    stored = snapshot.recording
    events = {entry.event for entry in stored.timeline} if stored is not None else set()
    if profile.record_prompt is RecordPrompt.NONE:
        return Announcement.NOT_REQUIRED
    if snapshot.announcing:
        return Announcement.PLAYING
    if snapshot.announced or ANNOUNCEMENT_FINISHED in events:
        return Announcement.FINISHED
    if ANNOUNCEMENT_FAILED in events:
        return Announcement.FAILED
    if stored is None and not profile.record_prompt_required:
        return Announcement.NOT_REQUIRED  # most calls are beyond it, and do not need it
    return Announcement.PENDING


def _continue_transfer(call: CallCore, snapshot: CallSnapshot) -> None:
    """Continue a transfer: the call was answered, but the current leg was not."""
    if snapshot.bridged:
        call.transfer.found_ringing()
        return
    call.transfer.found_creating()
    if snapshot.leg_entered:
        call.transfer.leg_entered()
