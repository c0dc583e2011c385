"""Handles messages to bounce addresses: verifies the address, reads the report, and stores it."""

from collections.abc import Callable
from typing import Any, Final, Protocol
from uuid import UUID, uuid4

from twisted.logger import Logger

from voxrec.bounce_address import BounceKey, BounceMailbox, BounceToken
from voxrec.clock import utc_now
from voxrec.mail.delivery_reports import BounceReport, parse_report
from voxrec.model import AuditEntry, AuditOutcome
from voxrec.sanitize import hide_addresses
from voxrec.store.delivery_reports import NewReport, ReportOutcome
from voxrec.threads import DeferToThread

IGNORED: Final = "ignored"
"""Outcome of a message that reports nothing, such as an automatic reply."""


class BounceKeys(Protocol):
    """The repository of the keys of bounce addresses."""

    async def find(self, key_id: int, /) -> BounceKey | None:
        """Return a key; None if it is not used any more."""


class Reports(Protocol):
    """The repository of reports."""

    async def add(self, report: NewReport, audit_entry: Callable[[UUID], AuditEntry], /) -> ReportOutcome:
        """Store a report, and let the delivery fail if it says so. Repeated reports change nothing.

        ``audit_entry`` returns the entry about the delivery of a Recording.
        """


class BounceIntake:
    """What the LMTP server calls. Nothing is ever answered with a mail, so that there are no loops."""

    _log = Logger()

    def __init__(
        self,
        clock: Any,
        mailbox: BounceMailbox,
        keys: BounceKeys,
        reports: Reports,
        defer_to_thread: DeferToThread,
        on_message: Callable[[str], None] = lambda _outcome: None,
    ) -> None:
        """``on_message`` is called with the outcome of each message: a `ReportOutcome`, or ``ignored``."""
        self._clock = clock
        self._mailbox = mailbox
        self._keys = keys
        self._reports = reports
        self._defer_to_thread = defer_to_thread
        self._on_message = on_message

    async def find_token(self, address: str) -> BounceToken | None:
        """Return the token of an envelope recipient; None unless voxrec has signed it. Raises StoreUnavailable."""
        token = self._mailbox.token_in(address)
        if token is None:
            return None
        key = await self._keys.find(token.key_id)
        return token if key is not None and key.verify(token) else None

    async def receive(self, token: BounceToken, data: bytes) -> None:
        """Store what a message reports. Raises StoreUnavailable."""
        report: BounceReport | None = await self._defer_to_thread(parse_report, data)
        if report is None:
            self._on_message(IGNORED)
            self._log.debug("an automatic reply to the mail of delivery {id} is ignored", id=token.delivery_id)
            return
        new = NewReport(
            delivery_id=token.delivery_id,
            attempt=token.attempt,
            action=report.action,
            status=report.status,
            remote_mta=report.remote_mta,
            reply=report.reply,
        )
        outcome = await self._reports.add(new, self._audit_entry)
        self._on_message(outcome)
        if outcome is ReportOutcome.FAILED:
            self._log.warn(
                "the mail of delivery {id} was returned; it is not sent again: {reply}",
                id=token.delivery_id,
                reply=hide_addresses(report.reply),
            )

    def _audit_entry(self, recording_id: UUID) -> AuditEntry:
        return AuditEntry(
            id=uuid4(),
            created_at=utc_now(self._clock),
            who="bounce",
            address="local",
            method="LMTP",
            path=f"/recordings/{recording_id}/deliveries",
            kind="delivery",
            target_id=recording_id,
            outcome=AuditOutcome.DONE,
        )
