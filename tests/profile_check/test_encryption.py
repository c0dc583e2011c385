"""Tests of voxrec.profile_check.encryption."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.subtest import subtest
from voxrec.model import CertificateType, CheckName, MailEncryption, Profile, ProfileCheck, RecipientCertificate
from voxrec.profile_check.encryption import EncryptionCheck

NOW = datetime(2026, 11, 27, tzinfo=UTC)
ANN = "ann@example.org"
PROFILE = Profile(id=UUID(int=1), email=ANN, created_at=NOW, updated_at=NOW)
CERTIFICATE = RecipientCertificate(
    id=UUID(int=2),
    address=ANN,
    type=CertificateType.SMIME,
    certificate="",
    subject="CN=Ann",
    addresses=(ANN,),
    fingerprint="00",
    algorithm="RSA 2048",
    expires_at=NOW + timedelta(days=31),
    created_at=NOW,
    updated_at=NOW,
)


class Certificates:
    def __init__(self, *rows: RecipientCertificate) -> None:
        self.rows = rows
        self.reads = 0

    async def of_recipients(self, _profile_id: UUID, _recipients: Sequence[str]) -> list[RecipientCertificate]:
        self.reads += 1
        return list(self.rows)


class EncryptionCheckTests(SynchronousTestCase):
    def check(self, *certificates: RecipientCertificate, **fields: Any) -> ProfileCheck:
        check = EncryptionCheck(Certificates(*certificates), lambda: MailEncryption.OPTIONAL, lambda: NOW)
        rows = self.successResultOf(Deferred.fromCoroutine(check(replace(PROFILE, **fields))))
        (row,) = rows
        self.assertIs(row.name, CheckName.ENCRYPTION)
        return row

    def test_recipients(self) -> None:
        expired = replace(CERTIFICATE, expires_at=NOW)
        soon = replace(CERTIFICATE, id=UUID(int=3), expires_at=NOW + timedelta(days=30))
        for certificates, mode, protection, ids, validity in (
            ((), None, "unencrypted", (), None),
            ((expired,), "optional", "unencrypted", (), "expired"),
            ((expired,), "notice", "notice", (), "expired"),
            ((), "required", "refused", (), None),
            ((CERTIFICATE,), "none", "unencrypted", (), "valid"),
            ((CERTIFICATE, expired), "required", "encrypted", (CERTIFICATE.id,), "valid"),
            ((soon,), None, "encrypted", (soon.id,), "expiring"),
            ((CERTIFICATE, soon), "optional", "encrypted", (CERTIFICATE.id, soon.id), "valid"),
        ):
            with subtest((protection, validity)):
                check = EncryptionCheck(Certificates(*certificates), lambda: MailEncryption.OPTIONAL, lambda: NOW)
                profile = replace(PROFILE, mail_encryption=None if mode is None else MailEncryption(mode))
                (recipient,) = self.successResultOf(Deferred.fromCoroutine(check.recipients(profile, lambda _: True)))
                self.assertEqual(
                    (recipient.protection, recipient.certificate_ids, recipient.validity), (protection, ids, validity)
                )
                latest = max((one.expires_at for one in certificates), default=None)
                self.assertEqual(recipient.expires_at, latest)

    def test_certificates_that_the_client_may_not_access_are_not_named(self) -> None:
        certificates = Certificates(CERTIFICATE)
        check = EncryptionCheck(certificates, lambda: MailEncryption.OPTIONAL, lambda: NOW)
        asked: list[UUID | None] = []

        def may_access(profile_id: UUID | None) -> bool:
            asked.append(profile_id)
            return False

        (recipient,) = self.successResultOf(Deferred.fromCoroutine(check.recipients(PROFILE, may_access)))
        self.assertEqual((recipient.protection, recipient.certificate_ids), ("encrypted", ()))
        self.assertEqual(recipient.expires_at, CERTIFICATE.expires_at)
        self.assertEqual((asked, certificates.reads), ([None], 1))

    def test_states(self) -> None:
        expired = replace(CERTIFICATE, expires_at=NOW)
        soon = replace(CERTIFICATE, expires_at=NOW + timedelta(days=30))
        missing = "there is no certificate of this recipient (/recipient-certificates); "
        gone = "the certificate of this recipient expired on 2026-11-27 00:00 UTC; "
        until = "mails are encrypted by S/MIME until 2026-12-2"
        required = {"mail_encryption": MailEncryption.REQUIRED}
        for certificates, fields, state, detail in (
            ((), {"email": None}, "skipped", "the Profile has no email"),
            ((), {"mail_encryption": MailEncryption.NONE}, "skipped", "mails are not encrypted"),
            ((), {}, "skipped", f"{missing}its mails are sent unencrypted"),
            ((), {"mail_encryption": MailEncryption.NOTICE}, "warning", f"{missing}it receives notices"),
            ((), required, "failed", f"{missing}it receives no mails"),
            ((expired,), required, "failed", f"{gone}it receives no mails"),
            ((expired,), {}, "warning", f"{gone}its mails are sent unencrypted"),
            ((CERTIFICATE,), {}, "ok", f"{until}8 00:00 UTC: CN=Ann"),
            ((soon,), required, "warning", f"{until}7 00:00 UTC: CN=Ann"),
            ((soon, CERTIFICATE), required, "ok", f"{until}8 00:00 UTC: CN=Ann, CN=Ann"),
        ):
            with subtest((state, detail)):
                row = self.check(*certificates, **fields)
                self.assertEqual(row.state, state)
                self.assertIn(detail, row.detail)
                self.assertEqual(row.advice is not None, state in ("warning", "failed"))
