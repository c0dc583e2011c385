"""Mail: the job handler that sends completed Recordings through the SMTP relay."""

from functools import partial
from pathlib import Path
from uuid import UUID

from voxrec.composition.database import Database
from voxrec.composition.environment import Environment
from voxrec.composition.recordings import RecordingFiles
from voxrec.config import Mail
from voxrec.mail.mailer import Mailer
from voxrec.mail.message import MessageDefaults
from voxrec.mail.smtp import Relay


def build_mailer(env: Environment, database: Database, files: RecordingFiles) -> Mailer:
    """Build the job handler."""
    settings = env.config.mail
    return Mailer(
        env.reactor,
        _relay(settings),
        _defaults(settings),
        recordings=database.recordings,
        profiles=database.profiles,
        deliveries=database.deliveries,
        archive=files.archive,
        audio_url=partial(_audio_url, env.config.rest.public_url),
        defer_to_thread=env.defer_to_thread,
        on_reply=env.metrics.count_mail_recipient,
    )


def reconfigure_mailer(mailer: Mailer, settings: Mail) -> None:
    """Apply changed settings to the following messages."""
    mailer.configure(_relay(settings), _defaults(settings))


def _defaults(settings: Mail) -> MessageDefaults:
    return MessageDefaults(sender=settings.sender, attach_limit=settings.attach_limit)


def _relay(settings: Mail) -> Relay:
    return Relay(
        host=settings.host,
        port=settings.port,
        tls=settings.tls,
        username=settings.user,
        password=settings.password,
        timeout=settings.timeout,
        helo_domain=settings.helo_domain,
        ca_file=Path(settings.ca_file) if settings.ca_file else None,
    )


def _audio_url(public_url: str, recording_id: UUID) -> str:
    return f"{public_url.rstrip('/')}/recordings/{recording_id}/audio"
