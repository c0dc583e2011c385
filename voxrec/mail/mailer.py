"""The ``mail`` job: sends a completed recording to the mail addresses of its Profile."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Protocol
from uuid import UUID

import msgspec
from twisted.logger import Logger

from voxrec.clock import utc_now
from voxrec.deferreds import KeyedLock
from voxrec.errors import DeliveryError, NotFound
from voxrec.mail.content import ListeningLink
from voxrec.mail.forms import Form, compose_form, forms_for
from voxrec.mail.message import MessageDefaults
from voxrec.mail.preview import example_recording, preview
from voxrec.mail.protection import Encryption, ProtectionError, TransientProtectionError
from voxrec.mail.protection_process import protect_message
from voxrec.mail.recipient_groups import RecipientGroup, encryption_of, group_recipients
from voxrec.mail.reply_store import Deliveries, Jobs, ReplyStore
from voxrec.mail.smtp import Refusal, Relay, send
from voxrec.mail.templates import Texts
from voxrec.mailaddress import is_mail_address, mailbox_key, needs_smtputf8
from voxrec.model import (
    Job,
    MailContent,
    MailEncryption,
    Profile,
    RecipientCertificate,
    Recording,
    RecordingState,
    mail_addresses,
)
from voxrec.sanitize import hide_addresses
from voxrec.store.deliveries import DeliveryState
from voxrec.threads import DeferToThread

_FAILED_SESSIONS: Final = 2  # of the first recipients, after which the others are not tried


class Recordings(Protocol):
    """The repository method that mailing needs."""

    async def get(self, recording_id: UUID, /) -> Recording:
        """Return the Recording. Raises `NotFound` if there is none."""


class Profiles(Protocol):
    """The repository method that mailing needs."""

    async def get(self, profile_id: UUID, /) -> Profile:
        """Return the Profile. Raises `NotFound` if there is none."""


class Certificates(Protocol):
    """The repository method that encryption needs."""

    async def of_recipients(self, profile_id: UUID, recipients: Sequence[str]) -> list[RecipientCertificate]:
        """Return the certificates of some recipients for the mails of a Profile."""


class Archive(Protocol):
    """The archive method that mailing needs."""

    async def obtain(self, recording: Recording) -> AbstractAsyncContextManager[Path]:
        """Return a local file with the audio. Raises `NotFound` if the archive has no such file."""


BounceAddresses = Callable[[UUID, Sequence[str]], Awaitable[Mapping[str, str]]]
"""Returns the envelope sender for each recipient of the mail about a Recording, to which its mail is returned."""


class Mailer:
    """Handles ``mail`` jobs: sends the message to all recipients that have not received it."""

    def __init__(
        self,
        reactor: Any,
        relay: Relay,
        defaults: MessageDefaults,
        *,
        recordings: Recordings,
        profiles: Profiles,
        deliveries: Deliveries,
        jobs: Jobs,
        certificates: Certificates,
        archive: Archive,
        listening_link: Callable[[UUID], Awaitable[ListeningLink]],
        defer_to_thread: DeferToThread,
        bounce_addresses: BounceAddresses | None = None,
        on_reply: Callable[[str], None] = lambda _state: None,
        on_protection: Callable[[str], None] = lambda _protection: None,
        logger: Logger | None = None,
    ) -> None:
        """Create a handler.

        ``listening_link`` returns where the readers can listen to a Recording. ``bounce_addresses`` None: mails that
        cannot be delivered are returned to the sender's mailbox. ``on_reply`` is called for each recipient with the
        relay's reply: accepted, deferred, refused or unconfirmed. ``on_protection`` is called for each recipient of an
        attempt with ``smime``, ``none``, ``notice`` (instead of what cannot be encrypted) or ``refused``.
        """
        self._reactor = reactor
        self._relay = relay
        self._defaults = defaults
        self._recordings = recordings
        self._profiles = profiles
        self._deliveries = deliveries
        self._certificates = certificates
        self._archive = archive
        self._listening_link = listening_link
        self._defer_to_thread = defer_to_thread
        self._bounce_addresses = bounce_addresses
        self._on_protection = on_protection
        self._log = logger or Logger()
        self._replies = ReplyStore(reactor, deliveries, jobs, on_reply, self._log)
        self._sending: KeyedLock[UUID] = KeyedLock()

    @property
    def defaults(self) -> MessageDefaults:
        """The settings of messages."""
        return self._defaults

    def configure(self, relay: Relay, defaults: MessageDefaults) -> None:
        """Change the settings of the following messages."""
        self._relay = relay
        self._defaults = defaults

    async def preview(self, profile: Profile, recording: Recording | None, url: str) -> Texts:
        """Return the texts of a mail without sending it. ``recording`` None: of an example."""
        shown = recording or example_recording(profile, utc_now(self._reactor))
        texts: Texts = await self._defer_to_thread(preview, profile, shown, url, self._defaults)
        return texts

    async def __call__(self, job: Job) -> None:
        """Send the message to the pending recipients. Recipients that accepted it earlier do not receive it again.

        Raises `DeliveryError` if a recipient did not accept it; it is permanent if no recipient is deferred.
        """
        # During an outage of PostgreSQL the lease can end, and the job be claimed again, before replies are stored.
        async with self._sending.hold(job.recording_id):
            await self._run(job)

    async def _run(self, job: Job) -> None:
        recording = await self._completed_recording(job.recording_id)
        if recording is None:
            return
        profile = await self._profile(recording)
        if profile is None:
            return
        requested = await self._deliveries.requested_recipients(recording.id)
        recipients = _distinct([*mail_addresses(profile.email), *requested])
        if not recipients:
            return
        pending = await self._deliveries.pending_recipients(recording.id, recipients)
        if pending:
            await self._replies.begin(job)
            await self._deliver(recording, profile, pending)
        await self._replies.require_accepted(job, recipients)

    async def _deliver(self, recording: Recording, profile: Profile, recipients: list[str]) -> None:
        """Send the mail to each group of recipients, encrypted if it must or can be."""
        relay, defaults = self._relay, self._defaults  # they may be changed meanwhile
        mode = encryption_of(profile, defaults.encryption)
        certificates: Sequence[RecipientCertificate] = ()
        if mode is not MailEncryption.NONE:
            certificates = await self._certificates.of_recipients(profile.id, recipients)
        listed, now = _distinct(mail_addresses(profile.email)), utc_now(self._reactor)
        grouping = group_recipients(recipients, listed, mode, certificates, now)
        await self._refuse(recording, grouping.refused)
        for group in grouping.groups:
            self._count_protection(group)
            shown = msgspec.structs.replace(profile, mail_content=MailContent.NOTICE) if group.notice else profile
            await self._deliver_to_group(recording, shown, group, relay, defaults)

    async def _refuse(self, recording: Recording, refused: Mapping[str, str]) -> None:
        """Store why nothing is sent to recipients. A new attempt can be requested when they have a certificate."""
        for recipient, reason in refused.items():
            self._on_protection("refused")
            await self._replies.store(recording.id, recipient, DeliveryState.REFUSED, reason)
        if refused:
            self._log.warn(
                "recording {id} is not mailed to {count} recipients: mails must be encrypted, and they have no valid "
                "certificate",
                id=recording.id,
                count=len(refused),
            )

    def _count_protection(self, group: RecipientGroup) -> None:
        protection = "none" if group.encryption is None else "smime"
        for _ in group.recipients:
            self._on_protection("notice" if group.notice else protection)

    async def _deliver_to_group(
        self, recording: Recording, profile: Profile, group: RecipientGroup, relay: Relay, defaults: MessageDefaults
    ) -> None:
        """Send one message to all, and a second one, with UTF-8 in its headers, to those who need SMTPUTF8.

        The others can so have the message from a relay without SMTPUTF8, too.
        """
        link = None if profile.mail_content is MailContent.NOTICE else await self._listening_link(recording.id)
        for utf8_headers in (False, True):
            recipients = [one for one in group.recipients if _needs_utf8_headers(one, defaults.sender) is utf8_headers]
            if recipients:
                settings = replace(defaults, utf8_headers=utf8_headers)
                await self._deliver_message(recording, profile, recipients, link, relay, settings, group.encryption)

    async def _deliver_message(
        self,
        recording: Recording,
        profile: Profile,
        recipients: list[str],
        link: ListeningLink | None,
        relay: Relay,
        defaults: MessageDefaults,
        encryption: Encryption | None,
    ) -> None:
        """Send the audio; to those for whom it is too large, a smaller copy, or the link."""
        for form in forms_for(profile, recording, defaults):
            try:
                message = await self._compose(form, recording, profile, link, defaults, encryption)
            except (ProtectionError, TransientProtectionError) as error:
                await self._record_unprotected(recording, recipients, error)
                return
            if message is None:
                continue
            too_large = await self._send(recording, relay, defaults, form, recipients, message)
            if not too_large:
                return
            self._log.info(
                "recording {id} is too large for {count} recipients; sending them a copy or the link: {reply}",
                id=recording.id,
                count=len(too_large),
                reply=hide_addresses(too_large[0].reply),
            )
            recipients = [refusal.recipient for refusal in too_large]

    async def _send(
        self,
        recording: Recording,
        relay: Relay,
        defaults: MessageDefaults,
        form: Form,
        recipients: list[str],
        message: bytes,
    ) -> list[Refusal]:
        """Send a message: to all at once or, with a bounce address for each of them, to one after the other.

        Return those for whom it is too large, unless the form is the smallest one. All other replies are stored. If the
        relay made no decision, the error is stored as an attempt for each recipient; raises the last error if the relay
        made no decision at all, and certainly has no mail. If the first sessions fail, there are no further ones: the
        relay does not respond, or the password is wrong, and it may lock the account.
        """
        too_large: list[Refusal] = []
        failures: list[DeliveryError] = []
        decided = unconfirmed = False
        for sender, group in await self._envelopes(recording, defaults.sender, recipients):
            if not decided and len(failures) >= _FAILED_SESSIONS:
                await self._replies.defer(
                    recording.id, group, f"not sent, as to other recipients: {failures[-1].detail}"
                )
                continue
            try:
                result = await send(self._reactor, relay, sender, group, message)
            except DeliveryError as error:
                failures.append(error)
                await self._replies.defer(recording.id, group, error.detail)
                continue
            if result.unconfirmed:
                unconfirmed = True
                failures.append(DeliveryError(result.reply, permanent=False))
            else:
                decided = True
            smaller = [one for one in result.refused if one.too_large and form is not Form.LINK]
            too_large += smaller
            others = tuple(one for one in result.refused if one not in smaller)
            result = replace(result, refused=others)
            await self._replies.record(recording.id, result, defaults.unconfirmed)
        if failures and not decided and not unconfirmed:
            raise failures[-1]
        return too_large

    async def _envelopes(self, recording: Recording, sender: str, recipients: list[str]) -> list[tuple[str, list[str]]]:
        """Return the envelope senders, each with its recipients."""
        if self._bounce_addresses is None:
            return [(sender, recipients)]
        senders = await self._bounce_addresses(recording.id, recipients)
        return [(senders[recipient], [recipient]) for recipient in recipients if recipient in senders]

    async def _completed_recording(self, recording_id: UUID) -> Recording | None:
        try:
            recording = await self._recordings.get(recording_id)
        except NotFound:
            self._log.info("recording {id} was deleted before it was mailed; no mail is sent", id=recording_id)
            return None
        if recording.state is not RecordingState.COMPLETED or recording.path is None:
            self._log.info("recording {id} is {state}; no mail is sent", id=recording_id, state=recording.state)
            return None
        return recording

    async def _profile(self, recording: Recording) -> Profile | None:
        """Return the Profile; None if it was deleted during the call or since, and the recipients with it."""
        try:
            return await self._profiles.get(recording.profile_id)
        except NotFound:
            self._log.info(
                "the Profile {profile} of recording {id} was deleted, and with it the recipients; no mail is sent",
                profile=recording.profile_id,
                id=recording.id,
            )
            return None

    async def _compose(
        self,
        form: Form,
        recording: Recording,
        profile: Profile,
        link: ListeningLink | None,
        defaults: MessageDefaults,
        encryption: Encryption | None,
    ) -> bytes | None:
        """Return the message, or None if the audio is too large for the form. Raises as `protect_message`."""
        async with await self._archive.obtain(recording) as audio:
            message: bytes | None = await self._defer_to_thread(
                compose_form, form, recording, profile, audio, link, defaults, utc_now(self._reactor)
            )
        if message is None or (encryption is None and defaults.signer is None):
            return message
        protected: bytes = await self._defer_to_thread(
            protect_message, message, encryption, defaults.signer, defaults.hide_subject
        )
        return protected

    async def _record_unprotected(
        self, recording: Recording, recipients: Sequence[str], error: ProtectionError | TransientProtectionError
    ) -> None:
        """Store why nothing is sent to recipients; the job is repeated unless a certificate is the reason."""
        fields = {"id": recording.id, "count": len(recipients), "error": error}
        if isinstance(error, TransientProtectionError):
            state = DeliveryState.DEFERRED
            self._log.warn("the mail about recording {id} is not sent to {count} recipients now: {error}", **fields)
        else:
            state = DeliveryState.REFUSED
            self._log.error("the mail about recording {id} is not sent to {count} recipients: {error}", **fields)
        for recipient in recipients:
            await self._replies.store(recording.id, recipient, state, f"not sent: {error}")


def _distinct(addresses: Sequence[str]) -> list[str]:
    """Return each address once, in the first of its spellings."""
    by_mailbox: dict[str, str] = {}
    for address in addresses:
        by_mailbox.setdefault(mailbox_key(address), address)
    return list(by_mailbox.values())


def _needs_utf8_headers(recipient: str, sender: str) -> bool:
    return any(is_mail_address(address) and needs_smtputf8(address) for address in (recipient, sender))
