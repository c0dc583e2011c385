"""What the mail about a Recording would say, without sending it."""

from datetime import datetime, timedelta
from uuid import UUID

from voxrec.mail.content import ListeningLink, describe
from voxrec.mail.message import MessageDefaults, waveform_cid
from voxrec.mail.templates import Texts, render_texts
from voxrec.model import MailContent, Profile, Recording, RecordingState


def preview(profile: Profile, recording: Recording, url: str, defaults: MessageDefaults) -> Texts:
    """Return the texts of the mail; ``url`` stands for the link in it. Blocks as `render_texts` does."""
    link = None if profile.mail_content is MailContent.NOTICE else ListeningLink(url)
    size = recording.size or 0
    attached = profile.mail_content is MailContent.ATTACHMENT and size <= defaults.attach_limit
    time_zone, language = defaults.time_zone_of(profile), defaults.language_of(profile)
    content = describe(recording, profile, link, size, attached, time_zone, language)
    cid = "" if link is None else waveform_cid(recording)
    return render_texts(content, recording, profile, defaults.templates, cid, attached)


def example_recording(profile: Profile, now: datetime) -> Recording:
    """Return a made-up Recording of a Profile, which ended now."""
    duration = 125.4  # seconds
    started_at = now - timedelta(seconds=duration)
    return Recording(
        id=UUID("00000000-0000-4000-8000-000000000001"),
        profile_id=profile.id,
        state=RecordingState.COMPLETED,
        started_at=started_at,
        ended_at=now,
        duration=duration,
        size=2_006_444,
        from_="+4930123456",
        from_name="Ann Example",
        to=next(iter(profile.numbers), str(profile.id)),
        remote_sip_uri=profile.remote_sip_uri,
        format=profile.record_format,
        created_at=started_at,
        updated_at=now,
    )
