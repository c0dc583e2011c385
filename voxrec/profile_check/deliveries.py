"""Checks the mail addresses and the webhooks of a Profile, without sending a mail."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol
from uuid import UUID

from voxrec.deferreds import gather
from voxrec.errors import DeliveryError, NotFound
from voxrec.mail.smtp import Refusal, SendResult
from voxrec.model import CheckName, CheckState, Profile, ProfileCheck, Webhook, mail_addresses
from voxrec.store.webhook_queue import Attempt
from voxrec.store.webhooks import Endpoint, WebhookFilter

_MAX_WEBHOOKS: Final = 10

VerifyRecipients = Callable[[list[str]], Awaitable[SendResult]]
"""Asks the relay whether it accepts mail for some addresses; see `voxrec.mail.smtp.verify`."""
SendTest = Callable[[Endpoint, UUID | None], Awaitable[Attempt]]
"""Sends a test message to a webhook."""


class Webhooks(Protocol):
    """The repository of webhooks."""

    async def page(self, filters: WebhookFilter, limit: int, after: None, /) -> list[Webhook]:
        """Return webhooks."""

    async def endpoint(self, webhook_id: UUID, /) -> Endpoint:
        """Return what a request to a webhook needs. Raises NotFound."""


class MailboxCheck:
    """Asks the relay for each recipient, by RCPT TO and without DATA."""

    def __init__(self, verify: VerifyRecipients) -> None:
        self._verify = verify

    async def __call__(self, profile: Profile) -> Sequence[ProfileCheck]:
        """Return a row for each address."""
        addresses = [*dict.fromkeys(mail_addresses(profile.email))]
        if not addresses:
            return [_mailbox(None, CheckState.SKIPPED, "the Profile has no email, so no mail is sent")]
        try:
            result = await self._verify(addresses)
        except DeliveryError as error:
            advice = "check mail.host, mail.port, mail.tls and mail.user; voxrec doctor examines them"
            return [_mailbox(address, CheckState.FAILED, error.detail, advice) for address in addresses]
        refusals = {refusal.recipient: refusal for refusal in result.refused}
        return [_mailbox_row(address, refusals.get(address)) for address in addresses]


class WebhookCheck:
    """Sends a test message to each webhook of the Profile; those of the installation are not the Profile's."""

    def __init__(self, webhooks: Webhooks, send_test: SendTest) -> None:
        self._webhooks = webhooks
        self._send_test = send_test

    async def __call__(self, profile: Profile) -> Sequence[ProfileCheck]:
        """Return a row for each webhook, at most ten."""
        webhooks = await self._webhooks.page(WebhookFilter(profile_id=profile.id), _MAX_WEBHOOKS, None)
        if not webhooks:
            detail = "the Profile has no webhook of its own"
            return [ProfileCheck(name=CheckName.WEBHOOK, state=CheckState.SKIPPED, detail=detail)]
        rows = await gather(*(self._check(webhook, profile) for webhook in webhooks))
        return [row for row in rows if row is not None]

    async def _check(self, webhook: Webhook, profile: Profile) -> ProfileCheck | None:
        try:
            endpoint = await self._webhooks.endpoint(webhook.id)
        except NotFound:
            return None  # it was deleted meanwhile
        attempt = await self._send_test(endpoint, profile.id)
        reply = f"HTTP status {attempt.status}" if attempt.status is not None else attempt.reply
        if not attempt.delivered:
            advice = "check the receiver; a private address requires webhooks.allowed_networks"
            return _webhook(webhook, attempt, CheckState.FAILED, f"did not accept a test message: {reply}", advice)
        if not webhook.enabled:
            detail = f"accepts messages, but is disabled: {webhook.disabled_reason or 'by a client'}"
            return _webhook(webhook, attempt, CheckState.WARNING, detail, "enable it: POST /webhooks/ID")
        return _webhook(webhook, attempt, CheckState.OK, f"accepted a test message: {reply}")


def _mailbox_row(address: str, refusal: Refusal | None) -> ProfileCheck:
    if refusal is None:
        return _mailbox(address, CheckState.OK, "the relay accepts mail for this address")
    if refusal.permanent:
        advice = "correct the address, or permit voxrec to send to it at the relay"
        return _mailbox(address, CheckState.FAILED, f"the relay refuses the address: {refusal.reply}", advice)
    detail = f"the relay does not accept mail for this address now: {refusal.reply}"
    return _mailbox(address, CheckState.WARNING, detail, "repeat the test later")


def _mailbox(target: str | None, state: CheckState, detail: str, advice: str | None = None) -> ProfileCheck:
    return ProfileCheck(name=CheckName.MAILBOX, target=target, state=state, detail=detail, advice=advice)


def _webhook(
    webhook: Webhook, attempt: Attempt, state: CheckState, detail: str, advice: str | None = None
) -> ProfileCheck:
    return ProfileCheck(
        name=CheckName.WEBHOOK,
        target=webhook.url,
        state=state,
        detail=detail,
        advice=advice,
        seconds=round(attempt.seconds, 3),
    )
