"""Repository of recipient certificates, to which mails are encrypted."""

# ruff: noqa: S608 - only names of columns are formatted into statements; values are parameters

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, NamedTuple
from uuid import UUID

from psycopg2.errors import ForeignKeyViolation, UniqueViolation

from voxrec.cursor import Cursor
from voxrec.error_codes import FieldErrorCode
from voxrec.errors import Conflict, FieldError
from voxrec.mailaddress import caseless_mailbox_key
from voxrec.model import CertificateValidity, RecipientCertificate
from voxrec.model.recipient_certificate import EXPIRY_NOTICE
from voxrec.postgres.statement import Row
from voxrec.postgres.transaction import Transaction
from voxrec.store.columns import Columns
from voxrec.store.keyset import Conditions, fetch_page
from voxrec.store.profile_limits import unknown_profile
from voxrec.store.repository import ScopedRepository, apply_change, no_check
from voxrec.store.transaction_hook import NO_HOOK, TransactionHook

_COLUMNS: Final = Columns(RecipientCertificate, jsonb=frozenset())
_SELECT: Final = f"SELECT {_COLUMNS.column_list} FROM recipient_certificates"
_INSERT: Final = f"""
    INSERT INTO recipient_certificates ({_COLUMNS.column_list}, mailbox) VALUES ({_COLUMNS.placeholders}, %s)
"""
_UPDATE: Final = f"""
    UPDATE recipient_certificates SET ({_COLUMNS.column_list}, mailbox) = ROW ({_COLUMNS.placeholders}, %s)
    WHERE id = %s
"""
_OF_RECIPIENTS: Final = f"""
    {_SELECT} WHERE mailbox = ANY(%s) AND (profile_id = %s OR profile_id IS NULL) ORDER BY created_at DESC, id DESC
"""


_SEARCH: Final = """
    (strpos(lower(address), lower(%s)) > 0 OR strpos(lower(subject), lower(%s)) > 0
     OR strpos(lower(issuer), lower(%s)) > 0
     OR starts_with(fingerprint, lower(%s)) OR starts_with(serial_number, lower(%s)))
"""
_VALIDITY: Final = {
    CertificateValidity.VALID: "expires_at > now() + %s",
    CertificateValidity.EXPIRING: "expires_at > now() AND expires_at <= now() + %s",
    CertificateValidity.EXPIRED: "expires_at <= now()",
}
_COUNTS: Final = f"""
    SELECT {", ".join(f"count(*) FILTER (WHERE {condition})" for condition in _VALIDITY.values())}
    FROM recipient_certificates
"""


class CertificateCounts(NamedTuple):
    """Numbers of recipient certificates; ``expiring`` are valid ones that expire soon."""

    valid: int
    expiring: int
    expired: int


@dataclass(frozen=True, kw_only=True)
class CertificateFilter:
    """Filters of a list; None matches everything.

    ``search`` is a part of the address, the holder or the issuer, in any letter case, or the beginning of the
    fingerprint or the serial number.
    """

    profile_id: UUID | None = None
    address: str | None = None
    search: str | None = None
    validity: CertificateValidity | None = None

    def conditions(self) -> Conditions:
        """Return the filters as SQL."""
        conditions = Conditions()
        conditions.add("profile_id = %s", self.profile_id)
        conditions.add("mailbox = %s", None if self.address is None else caseless_mailbox_key(self.address))
        if self.search is not None:
            hexadecimal = self.search.replace(":", "").replace(" ", "") or self.search
            # openssl writes serial numbers with two digits for each byte
            conditions.add(_SEARCH, *[self.search] * 3, hexadecimal, hexadecimal.lstrip("0") or hexadecimal)
        if self.validity is not None:
            sql = _VALIDITY[self.validity]
            conditions.add(sql, *[EXPIRY_NOTICE] * sql.count("%s"))
        return conditions


ALL_CERTIFICATES: Final = CertificateFilter()


class RecipientCertificates(ScopedRepository[RecipientCertificate, CertificateFilter]):
    """The table of recipient certificates. In a scoped repository, those of all Profiles do not exist."""

    _resource = "recipient certificate"
    _no_filters = ALL_CERTIFICATES

    async def create(
        self, certificate: RecipientCertificate, hook: TransactionHook[RecipientCertificate] = NO_HOOK
    ) -> RecipientCertificate:
        """Insert a certificate, run ``hook``, and return the certificate.

        Raises Conflict if its recipient has it already, InvalidInput if its Profile does not exist.
        """

        async def work(transaction: Transaction) -> RecipientCertificate:
            if not self._in_scope(certificate):
                raise unknown_profile("recipient certificate", certificate.profile_id)
            with _constraints(certificate):
                await transaction.execute(
                    _INSERT, (*_COLUMNS.params(certificate), caseless_mailbox_key(certificate.address))
                )
            await hook(transaction, certificate)
            return certificate

        return await self._database.transaction(work)

    async def update(
        self,
        certificate_id: UUID,
        change: Callable[[RecipientCertificate], RecipientCertificate],
        hook: TransactionHook[RecipientCertificate] = NO_HOOK,
    ) -> RecipientCertificate:
        """Replace a certificate by ``change(old)``, which locks it, run ``hook``, and return it. Raises NotFound."""

        async def work(transaction: Transaction) -> RecipientCertificate:
            new = apply_change(change, await self._lock(transaction, certificate_id))
            with _constraints(new):
                await transaction.execute(_UPDATE, (*_COLUMNS.params(new), caseless_mailbox_key(new.address), new.id))
            await hook(transaction, new)
            return new

        return await self._database.transaction(work)

    async def delete(self, certificate_id: UUID, check: Callable[[RecipientCertificate], None] = no_check) -> None:
        """Delete a certificate unless ``check`` raises. Raises NotFound."""

        async def work(transaction: Transaction) -> None:
            check(await self._lock(transaction, certificate_id))
            await transaction.execute("DELETE FROM recipient_certificates WHERE id = %s", (certificate_id,))

        await self._database.transaction(work)

    async def of_recipients(self, profile_id: UUID, recipients: Sequence[str]) -> list[RecipientCertificate]:
        """Return the certificates of some recipients for the mails of a Profile: its own, and those of all Profiles."""
        mailboxes = [caseless_mailbox_key(recipient) for recipient in recipients]
        rows = await self._database.query(_OF_RECIPIENTS, (mailboxes, profile_id))
        return [one for one in map(self._from_row, rows) if self._in_scope(one)]

    async def counts(self, notice: timedelta) -> CertificateCounts:
        """Return the numbers of certificates; ``expiring`` are those that expire within ``notice``."""
        (row,) = await self._database.query(_COUNTS, (notice, notice))
        return CertificateCounts(*row)

    async def _fetch_page(self, filters: CertificateFilter, limit: int, after: Cursor | None) -> list[Row]:
        conditions = filters.conditions()
        conditions.add("profile_id = ANY(%s)", None if self._profile_ids is None else list(self._profile_ids))
        return await fetch_page(self._database, _SELECT, conditions, limit, after)

    def _select_by_id(self, resource_id: UUID) -> tuple[str, tuple[object, ...]]:
        return f"{_SELECT} WHERE id = %s", (resource_id,)

    def _from_row(self, row: Row) -> RecipientCertificate:
        return _COLUMNS.from_row(row)

    def _in_scope(self, resource: RecipientCertificate) -> bool:
        return self._profile_ids is None or resource.profile_id in self._profile_ids


@contextmanager
def _constraints(certificate: RecipientCertificate) -> Iterator[None]:
    """Translate the violation of a constraint."""
    try:
        yield
    except ForeignKeyViolation as error:
        raise unknown_profile("recipient certificate", certificate.profile_id) from error
    except UniqueViolation as error:
        problem = f"{certificate.address} has this certificate already"
        raise Conflict(
            "The recipient certificate collides with another one.",
            [FieldError("certificate", problem, FieldErrorCode.CERTIFICATE_STORED, {"address": certificate.address})],
        ) from error
