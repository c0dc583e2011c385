"""Stores what the relay says about each recipient of a mail, and decides from that whether its job has ended."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Final, Protocol
from uuid import UUID

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from voxrec.deferreds import Backoff, retry
from voxrec.errors import DeliveryError, StoreUnavailable
from voxrec.mail.envelope import Refusal, SendResult, UnconfirmedRetries
from voxrec.model import Job
from voxrec.sanitize import hide_addresses
from voxrec.store.deliveries import Delivery, DeliveryState

_BACKOFF: Final = Backoff(first=1.0, limit=5.0)  # while PostgreSQL is unavailable


class Deliveries(Protocol):
    """The repository of the relay's replies, by Recording and recipient."""

    async def pending_recipients(self, recording_id: UUID, recipients: Sequence[str]) -> list[str]:
        """Return those of ``recipients`` without a final reply."""

    async def requested_recipients(self, recording_id: UUID) -> list[str]:
        """Return the recipients that a client has requested, in addition to those of the Profile."""

    async def record_reply(self, recording_id: UUID, recipient: str, state: DeliveryState, reply: str) -> None:
        """Store a reply about a recipient."""

    async def record_unconfirmed(
        self, recording_id: UUID, recipient: str, reason: str, limit: int, interval: timedelta
    ) -> None:
        """Store that the relay may have accepted the mail, which is repeated later, ``limit`` times in all."""

    async def of_recording(self, recording_id: UUID) -> list[Delivery]:
        """Return the deliveries of a Recording."""


class Jobs(Protocol):
    """The repository method of the queue that mailing needs."""

    async def set_unconfirmed(self, job: Job, *, unconfirmed: bool) -> None:
        """Store whether the job, if it becomes dead, has failed only because mails are unconfirmed."""


class ReplyStore:
    """The replies of the relay. ``on_reply`` is called for each: accepted, deferred, refused or unconfirmed.

    Replies are stored as soon as PostgreSQL is available: without them, the mail would be sent once more.
    """

    def __init__(
        self,
        clock: IReactorTime,
        deliveries: Deliveries,
        jobs: Jobs,
        on_reply: Callable[[str], None],
        logger: Logger,
    ) -> None:
        self._clock = clock
        self._deliveries = deliveries
        self._jobs = jobs
        self._on_reply = on_reply
        self._log = logger

    async def begin(self, job: Job) -> None:
        """Forget that the last mails of the job were unconfirmed: if this attempt fails, its error is what counts."""
        if job.claims > 1:
            await self._jobs.set_unconfirmed(job, unconfirmed=False)

    async def store(self, recording_id: UUID, recipient: str, state: DeliveryState, reply: str) -> None:
        """Store a reply about a recipient, or why it was not asked for one."""
        await self._until_stored(partial(self._deliveries.record_reply, recording_id, recipient, state, reply))

    async def defer(self, recording_id: UUID, recipients: Sequence[str], reason: str) -> None:
        """Store why the mail cannot be sent to some recipients now."""
        for recipient in recipients:
            await self.store(recording_id, recipient, DeliveryState.DEFERRED, reason)

    async def record(self, recording_id: UUID, result: SendResult, retries: UnconfirmedRetries) -> None:
        """Store the result of a session. ``retries``: how an unconfirmed mail is repeated."""
        # accepted recipients first: if the process dies in between, a lost refusal causes no duplicate mail
        for recipient in result.accepted:
            self._on_reply(DeliveryState.ACCEPTED)
            await self.store(recording_id, recipient, DeliveryState.ACCEPTED, result.reply)
        await self._record_unconfirmed(recording_id, result, retries)
        for refusal in result.refused:
            self._on_reply(_state(refusal))
            await self.store(recording_id, refusal.recipient, _state(refusal), refusal.reply)
        if result.accepted:
            self._log.info(
                "recording {id} was mailed to {count} of {total} recipients: {reply}",
                id=recording_id,
                count=len(result.accepted),
                total=len(result.accepted) + len(result.refused),
                reply=hide_addresses(result.reply),
            )

    async def _record_unconfirmed(self, recording_id: UUID, result: SendResult, retries: UnconfirmedRetries) -> None:
        for recipient in result.unconfirmed:
            self._on_reply("unconfirmed")
            record = partial(self._deliveries.record_unconfirmed, recording_id, recipient, result.reply)
            await self._until_stored(partial(record, retries.attempts, retries.interval))
        if result.unconfirmed:
            self._log.warn(
                "recording {id} may have been mailed to {count} recipients: {reply}",
                id=recording_id,
                count=len(result.unconfirmed),
                reply=hide_addresses(result.reply),
            )

    async def _until_stored(self, store: Callable[[], Awaitable[None]]) -> None:
        await retry(self._clock, store, on=StoreUnavailable, backoff=_BACKOFF)

    async def require_accepted(self, job: Job, recipients: Sequence[str]) -> None:
        """Raise DeliveryError unless the relay has accepted the mail for all recipients.

        The error is permanent if no recipient is deferred.
        """
        stored = await self._deliveries.of_recording(job.recording_id)
        deliveries = [delivery for delivery in stored if delivery.recipient in recipients]
        deferred = [delivery for delivery in deliveries if delivery.state is DeliveryState.DEFERRED]
        # mails that were returned have been reported
        refused = [one for one in deliveries if one.state is DeliveryState.REFUSED and not one.returned]
        if not (deferred or refused):
            return
        await self._jobs.set_unconfirmed(job, unconfirmed=all(one.unconfirmed for one in deferred + refused))
        raise _error(deferred or refused, permanent=not deferred)


def _error(failed: Sequence[Delivery], *, permanent: bool) -> DeliveryError:
    unconfirmed = all(delivery.unconfirmed for delivery in failed)
    problem = "did not confirm that it has accepted" if unconfirmed else "did not accept"
    replies = "; ".join(f"{delivery.recipient}: {delivery.last_reply}" for delivery in failed)
    retry_after = min(delivery.retry_after for delivery in failed)
    return DeliveryError(f"the relay {problem} the mail for {replies}", permanent=permanent, retry_after=retry_after)


def _state(refusal: Refusal) -> DeliveryState:
    return DeliveryState.REFUSED if refusal.permanent else DeliveryState.DEFERRED
