"""Mail: the job handler that sends completed Recordings through the SMTP relay, and the server for returned mails."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

from twisted.logger import Logger

from voxrec.bounce_address import BounceMailbox
from voxrec.clock import utc_now
from voxrec.composition.database import Database
from voxrec.composition.environment import Environment
from voxrec.composition.recordings import RecordingFiles
from voxrec.config import Mail
from voxrec.mail.bounce_server import BounceFactory
from voxrec.mail.bounces import BounceIntake
from voxrec.mail.content import ListeningLink
from voxrec.mail.envelope import UnconfirmedRetries
from voxrec.mail.mailer import BounceAddresses, Mailer
from voxrec.mail.message import MessageDefaults
from voxrec.mail.smime_signature import Signer, SigningError, load_signer
from voxrec.mail.smtp import Relay
from voxrec.metrics import Metrics
from voxrec.model import LinkOrigin, MailEncryption
from voxrec.service_tree import RetryingServerService

_log: Final = Logger()


def build_mailer(env: Environment, database: Database, files: RecordingFiles) -> Mailer:
    """Build the job handler."""
    settings = env.config.mail
    return Mailer(
        env.reactor,
        make_relay(settings),
        _defaults(settings, _signer(settings, env.metrics)),
        recordings=database.recordings,
        profiles=database.profiles,
        deliveries=database.deliveries,
        jobs=database.jobs,
        certificates=database.recipient_certificates,
        archive=files.archive,
        listening_link=_listening_link(env, database),
        defer_to_thread=env.defer_to_thread,
        bounce_addresses=_bounce_addresses(env, database) if env.config.bounces.address else None,
        on_reply=env.metrics.jobs.count_mail_recipient,
        on_protection=env.metrics.jobs.count_mail_protection,
    )


def reconfigure_mailer(mailer: Mailer, settings: Mail, metrics: Metrics) -> None:
    """Apply changed settings, and the files of the signature, to the following messages."""
    try:
        signer = _signer(settings, metrics)
    except SigningError as error:
        _log.error("mails are signed as before: {error}", error=error)
        signer = mailer.defaults.signer
    mailer.configure(make_relay(settings), _defaults(settings, signer))


def _signer(settings: Mail, metrics: Metrics) -> Signer | None:
    """Return what signs mails, and publish until when. Raises SigningError."""
    if not settings.signing_certificate:
        metrics.jobs.set_signing_certificate(0)
        return None
    signer = load_signer(Path(settings.signing_certificate), Path(settings.signing_key))
    metrics.jobs.set_signing_certificate(signer.expires_at.timestamp())
    return signer


def _defaults(settings: Mail, signer: Signer | None) -> MessageDefaults:
    return MessageDefaults(
        sender=settings.sender,
        attach_limit=settings.attach_limit,
        time_zone=ZoneInfo(settings.time_zone),
        language=settings.language,
        copy_format=settings.copy_format,
        templates=Path(settings.templates) if settings.templates else None,
        encryption=MailEncryption(settings.encryption),
        hide_subject=settings.hide_subject,
        signer=signer,
        unconfirmed=UnconfirmedRetries(settings.unconfirmed_attempts, timedelta(seconds=settings.unconfirmed_retry)),
    )


def make_relay(settings: Mail) -> Relay:
    """Return the SMTP server of the settings."""
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


def build_bounce_server(env: Environment, database: Database) -> RetryingServerService | None:
    """Build the LMTP server for returned mails; None: this node accepts none."""
    settings = env.config.bounces
    if not settings.listen:
        return None
    intake = BounceIntake(
        env.reactor,
        BounceMailbox.parse(settings.address),
        database.bounce_keys,
        database.delivery_reports,
        env.defer_to_thread,
        env.metrics.jobs.count_returned_mail,
    )
    return RetryingServerService(env.reactor, settings.listen, BounceFactory(env.reactor, intake), "bounces")


def _bounce_addresses(env: Environment, database: Database) -> BounceAddresses:
    mailbox = BounceMailbox.parse(env.config.bounces.address)

    async def bounce_addresses(recording_id: UUID, recipients: Sequence[str]) -> dict[str, str]:
        key = await database.bounce_keys.signing_key()
        attempts = await database.deliveries.next_attempts(recording_id, recipients)
        return {
            recipient: mailbox.address(key.sign(attempt.delivery_id, attempt.number))
            for recipient, attempt in attempts.items()
        }

    return bounce_addresses


def _listening_link(env: Environment, database: Database) -> Callable[[UUID], Awaitable[ListeningLink]]:
    """Return the function that returns an expiring link; or, by `links.in_mails`, the URL that needs a token."""
    settings, public_url = env.config.links, env.config.rest.public_url.rstrip("/")

    async def listening_link(recording_id: UUID) -> ListeningLink:
        with_token = ListeningLink(f"{public_url}/recordings/{recording_id}/audio")
        if not settings.in_mails:
            return with_token
        lifetime = timedelta(days=settings.delivery_days)
        link = await database.links.for_delivery(recording_id, LinkOrigin.MAIL, lifetime, utc_now(env.reactor))
        return with_token if link.url is None else ListeningLink(link.url, link.expires_at)

    return listening_link
