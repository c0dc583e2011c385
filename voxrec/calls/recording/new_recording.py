"""Makes the Recording of a call whose recording begins."""

from datetime import datetime

from voxrec.calls.call_data import CallData
from voxrec.model import Profile, RecordChannels, Recording, RecordingState, RecordPrompt


def new_recording(call: CallData, began: datetime) -> Recording:
    """Return the Recording of a call that is recorded since ``began``, as its Profile requires."""
    profile = call.profile
    return Recording(
        id=call.recording_id,
        profile_id=profile.id,
        call_id=call.id,
        state=RecordingState.RECORDING,
        format=profile.record_format,
        channels=2 if profile.record_channels is RecordChannels.DUAL else 1,
        started_at=began,
        from_=call.inbound.number or None,
        from_name=call.inbound.name or None,
        to=call.inbound.dialled,
        remote_sip_uri=call.callee or None,
        node=call.settings.node,
        metadata=profile.metadata,
        expires_at=profile.expiry(began),
        min_duration_seconds=profile.min_duration_seconds,
        prompt_played=False if requires_prompt(profile) else None,
        pause_code=profile.record_pause_code,
        resume_code=profile.record_resume_code,
        created_at=began,
        updated_at=began,
    )


def requires_prompt(profile: Profile) -> bool:
    """Return whether the Recording is kept only if the announcement was played completely."""
    return profile.record_prompt_required and profile.record_prompt is not RecordPrompt.NONE
