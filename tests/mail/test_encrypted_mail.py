"""Mails that are encrypted, sent to a real SMTP server, and decrypted by OpenSSL as its recipients do."""

import email
import email.policy
import sys
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import soundfile
from cryptography.hazmat.primitives.asymmetric import ec
from msgspec.structs import replace
from twisted.internet.threads import deferToThread

from tests.mail.key_pairs import PrivateKey, Programs, make_certificate, private_pem, rsa_key
from tests.mail.size_limited_relay import SizeLimitedRelay
from tests.mail.test_mailer import ANN, BOB, JOB, MailerTestCase
from tests.mail.test_message import AUDIO, PROFILE, RECORDING
from tests.subtest import subtest
from voxrec.mail import protection_process
from voxrec.mail.certificate_upload import read_certificate
from voxrec.mail.message import MessageDefaults
from voxrec.mail.smime_signature import SigningError, load_signer
from voxrec.model import MailEncryption, RecipientCertificate

EVE = "eve@example.org"
PYTHON = sys.executable


def parse(message: bytes) -> Any:
    return email.message_from_bytes(message, policy=email.policy.default)


class EncryptedMailTestCase(MailerTestCase):
    timeout = 240  # the first run builds the root file system

    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.programs: Programs = await deferToThread(Programs, Path(self.mktemp()))
        self.keys: dict[str, PrivateKey] = {address: rsa_key(address) for address in (ANN, BOB, EVE)}
        self.pem: dict[str, bytes] = {}

    def add_certificate(self, address: str, **changes: Any) -> RecipientCertificate:
        now = datetime.now(UTC)
        pem = make_certificate(address, key=self.keys[address])
        self.pem[address] = pem
        facts = read_certificate(pem.decode(), now)
        row = RecipientCertificate(id=uuid4(), address=address, **asdict(facts), created_at=now, updated_at=now)
        self.certificates.rows.append(replace(row, **changes))
        return row

    async def send(self, mode: MailEncryption = MailEncryption.OPTIONAL, **fields: Any) -> None:
        await self.make_mailer(profile=replace(PROFILE, mail_encryption=mode, **fields))(JOB)

    def message_to(self, recipient: str) -> bytes:
        (message,) = [data for address, data in self.mailbox.messages if address == recipient]
        return message

    def decrypt(self, recipient: str) -> bytes:
        return self.programs.decrypt_smime(self.message_to(recipient), self.pem[recipient], self.keys[recipient])


class SignedMailTests(EncryptedMailTestCase):
    def sign_with(self, *certificates: bytes, key: PrivateKey) -> bytes:
        """Let mails be signed; return the certificate that signs them."""
        directory = Path(self.mktemp())
        directory.mkdir()
        (directory / "certificate.pem").write_bytes(b"".join(certificates))
        (directory / "key.pem").write_bytes(private_pem(key))
        (directory / "key.pem").chmod(0o600)
        signer = load_signer(directory / "certificate.pem", directory / "key.pem")
        self.defaults = MessageDefaults("voxrec@example.org", 1_000_000, signer=signer)
        return certificates[0]

    def verify(self, message: bytes, certificate: bytes) -> bytes:
        """Return what a recipient reads in a signed message."""
        trusted = self.programs.write("trusted.pem", certificate)
        return self.programs.run("openssl", "cms", "-verify", "-CAfile", trusted, stdin=message)

    async def test_recipients_verify_the_signature(self) -> None:
        for key in (rsa_key("voxrec"), ec.generate_private_key(ec.SECP256R1())):
            with subtest(type(key).__name__):
                certificate = self.sign_with(make_certificate("voxrec@example.org", key=key, ca=True), key=key)
                self.deliveries.rows.clear()
                self.mailbox.messages.clear()
                await self.send(email=ANN)
                message = self.message_to(ANN)
                outer, inner = parse(message), parse(self.verify(message, certificate))
                self.assertEqual(outer.get_content_type(), "multipart/signed")
                self.assertEqual(outer["Content-Type"].params["protocol"], "application/pkcs7-signature")
                self.assertEqual(outer["Subject"], inner["Subject"])
                self.assertEqual(inner["Content-Type"].params["hp"], "clear")
                (attached,) = inner.iter_attachments()
                self.assertEqual(attached.get_content(), AUDIO)
                self.assertTrue(message.isascii())
                with self.assertRaises(AssertionError):
                    self.verify(message.replace(b"called", b"killed"), certificate)

    async def test_a_signed_mail_is_encrypted(self) -> None:
        key = rsa_key("voxrec")
        certificate = self.sign_with(make_certificate("voxrec@example.org", key=key, ca=True), key=key)
        self.add_certificate(ANN)
        await self.send(MailEncryption.REQUIRED, email=ANN)
        self.assertNotIn(b"multipart/signed", self.message_to(ANN))
        inner = parse(self.verify(self.decrypt(ANN), certificate))
        self.assertEqual(inner["Content-Type"].params["hp"], "cipher")
        self.assertIn("Müller", inner["Subject"])
        (attached,) = inner.iter_attachments()
        self.assertEqual(attached.get_content(), AUDIO)

    def test_files_that_cannot_be_used(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir()
        certificate, key = directory / "certificate.pem", directory / "key.pem"
        pem, private = make_certificate("voxrec@example.org", key=rsa_key()), private_pem(rsa_key())
        for public, secret, mode, problem in (
            (pem, private, 0o644, "is accessible to all users"),
            (pem, private_pem(rsa_key("other")), 0o600, "does not belong to the first certificate"),
            (b"", private, 0o600, "cannot be used"),
            (pem, b"-----BEGIN", 0o600, "cannot be used"),
            (private, private, 0o600, "cannot be used"),
        ):
            with subtest(problem):
                certificate.write_bytes(public)
                key.write_bytes(secret)
                key.chmod(mode)
                error = self.assertRaises(SigningError, load_signer, certificate, key)
                self.assertIn(problem, error.detail)
        missing = directory / "missing.pem"
        self.assertRaises(SigningError, load_signer, certificate, missing)


class SmimeTests(EncryptedMailTestCase):
    async def test_recipients_decrypt_the_mail_and_its_subject(self) -> None:
        self.add_certificate(ANN)
        self.add_certificate(BOB)
        await self.send()
        outer = parse(self.message_to(ANN))
        self.assertEqual(self.message_to(ANN), self.message_to(BOB))
        self.assertEqual(outer["Subject"], "[...]")
        self.assertEqual(outer["To"], f"{ANN}, {BOB}")
        self.assertEqual(outer.get_content_type(), "application/pkcs7-mime")
        self.assertEqual(outer["Content-Type"].params["smime-type"], "enveloped-data")
        self.assertTrue(self.message_to(ANN).isascii())
        self.assertLessEqual(max(map(len, self.message_to(ANN).split(b"\r\n"))), 78)
        for secret in (b"49123", b"M=C3=BC", "Müller".encode(), b"multipart"):
            self.assertNotIn(secret, self.message_to(ANN))
        for recipient in (ANN, BOB):
            inner = parse(self.decrypt(recipient))
            self.assertTrue(inner["Subject"].startswith("Erna Müller (+49123) called +49555"), inner["Subject"])
            self.assertEqual(inner["Content-Type"].params["hp"], "cipher")
            self.assertEqual(
                [str(one) for one in inner.get_all("HP-Outer") if "Subject" in str(one)], ["Subject: [...]"]
            )
            self.assertEqual(inner["Message-ID"], outer["Message-ID"])
            (attached,) = inner.iter_attachments()
            self.assertEqual(attached.get_content(), AUDIO)
            self.assertIn("called", inner.get_body(("plain",)).get_content())
        self.assertEqual(self.protections, ["smime", "smime"])
        self.assertEqual(self.deliveries.states[ANN], ("accepted", 1, "250 Delivery in progress"))

    async def test_the_subject_can_stay_visible(self) -> None:
        self.add_certificate(ANN)
        self.defaults = MessageDefaults("voxrec@example.org", 1_000_000, hide_subject=False)
        await self.send(email=ANN)
        outer, inner = parse(self.message_to(ANN)), parse(self.decrypt(ANN))
        self.assertEqual(outer["Subject"], inner["Subject"])
        self.assertIn("+49123", outer["Subject"])

    async def test_recipients_without_certificate(self) -> None:
        self.add_certificate(ANN)
        for mode, states, protections in (
            (MailEncryption.OPTIONAL, ["accepted", "accepted"], ["smime", "none"]),
            (MailEncryption.NOTICE, ["accepted", "accepted"], ["smime", "notice"]),
            (MailEncryption.REQUIRED, ["accepted", "refused"], ["refused", "smime"]),
            (MailEncryption.NONE, ["accepted", "accepted"], ["none", "none"]),
        ):
            with subtest(mode):
                self.deliveries.rows.clear()
                self.mailbox.messages.clear()
                self.protections.clear()
                mailer = self.make_mailer(profile=replace(PROFILE, mail_encryption=mode))
                if mode is MailEncryption.REQUIRED:
                    error = await self.run_failing_job(mailer)
                    self.assertTrue(error.permanent)
                    self.assertIn(f"{BOB}: not sent unencrypted: there is no certificate", error.detail)
                    self.flushLoggedErrors()
                else:
                    await mailer(JOB)
                self.assertEqual([self.deliveries.states[one][0] for one in (ANN, BOB)], states)
                self.assertEqual(self.protections, protections)
                self.assertEqual(
                    ANN in self.received and b"pkcs7" in self.message_to(ANN), mode is not MailEncryption.NONE
                )
                if mode is MailEncryption.REQUIRED:
                    self.assertEqual(self.received, [ANN])
                    continue
                message = parse(self.message_to(BOB))
                notice = mode is MailEncryption.NOTICE
                self.assertEqual([*message.iter_attachments()] == [], notice)
                self.assertEqual("https://" in message.get_body(("plain",)).get_content(), not notice)

    async def test_the_mode_of_the_installation(self) -> None:
        self.defaults = MessageDefaults("voxrec@example.org", 1_000_000, encryption=MailEncryption.REQUIRED)
        error = await self.run_failing_job(self.make_mailer())
        self.assertIn("not sent unencrypted", error.detail)
        self.assertEqual(self.received, [])

    async def test_faults_of_this_machine_are_repeated(self) -> None:
        """In each mode the mail waits: it is never sent unencrypted instead."""
        self.add_certificate(ANN)
        self.patch(protection_process, "SMALL", 1)
        for mode in (MailEncryption.OPTIONAL, MailEncryption.NOTICE, MailEncryption.REQUIRED):
            with subtest(mode):
                self.deliveries.rows.clear()
                self.mailbox.messages.clear()
                self.patch(sys, "executable", "/nonexistent/python")
                mailer = self.make_mailer(profile=replace(PROFILE, email=ANN, mail_encryption=mode))
                error = await self.run_failing_job(mailer)
                self.assertFalse(error.permanent)
                self.assertEqual(self.received, [])
                state, _, reply = self.deliveries.states[ANN]
                self.assertEqual(state, "deferred")
                self.assertIn("No such file or directory", reply)
                self.patch(sys, "executable", PYTHON)
                await mailer(JOB)
                self.assertIn(b"HP-Outer", self.decrypt(ANN))

    async def test_a_certificate_that_cannot_be_used_refuses_the_mail(self) -> None:
        row = self.add_certificate(ANN)
        self.certificates.rows[:] = [replace(row, certificate="-----BEGIN")]
        profile = replace(PROFILE, email=ANN, mail_encryption=MailEncryption.OPTIONAL)
        error = await self.run_failing_job(self.make_mailer(profile=profile))
        self.assertTrue(error.permanent)
        self.assertEqual(self.received, [])
        self.assertIn("not sent: the message cannot be encrypted", self.deliveries.states[ANN][2])

    async def test_an_expired_certificate_is_not_used(self) -> None:
        yesterday = datetime.now(UTC) - timedelta(days=1)
        self.add_certificate(ANN, expires_at=yesterday)
        error = await self.run_failing_job(
            self.make_mailer(profile=replace(PROFILE, email=ANN, mail_encryption=MailEncryption.REQUIRED))
        )
        self.assertIn(f"the certificate of this recipient expired on {yesterday:%Y-%m-%d}", error.detail)
        self.add_certificate(ANN)
        self.deliveries.rows.clear()
        await self.send(MailEncryption.REQUIRED, email=ANN)
        self.assertIn(b"HP-Outer", self.decrypt(ANN))

    async def test_a_requested_recipient_is_not_revealed_to_the_others(self) -> None:
        """Each message is encrypted only to those whom its headers name, or to one other recipient."""
        for address in (ANN, BOB, EVE):
            self.add_certificate(address)
        self.deliveries.requested.append(EVE)
        await self.send(MailEncryption.REQUIRED)
        self.assertEqual(sorted(self.received), [ANN, BOB, EVE])
        self.assertNotEqual(self.message_to(EVE), self.message_to(ANN))
        self.assertIn(b"HP-Outer", self.decrypt(EVE))
        with self.assertRaises(AssertionError):
            self.programs.decrypt_smime(self.message_to(ANN), self.pem[EVE], self.keys[EVE])

    async def test_each_recipient_has_a_bounce_address(self) -> None:
        self.add_certificate(ANN)
        self.add_certificate(BOB)
        await self.make_mailer_with_bounces(replace(PROFILE, mail_encryption=MailEncryption.REQUIRED))(JOB)
        self.assertEqual(self.received, [ANN, BOB])
        self.assertIn(b"HP-Outer", self.decrypt(BOB))

    async def test_the_limit_of_the_relay_applies_to_the_encrypted_mail(self) -> None:
        """Of audio that fits only without encryption, the mail has the link."""
        self.add_certificate(ANN)
        relay = SizeLimitedRelay(25_000)
        self.port = await deferToThread(relay.start)
        self.addCleanup(deferToThread, relay.stop)
        await self.send(MailEncryption.NONE, email=ANN)
        (unencrypted,) = relay.messages.pop(ANN)
        self.assertIn(b"multipart/mixed", unencrypted)
        self.deliveries.rows.clear()
        await self.send(MailEncryption.REQUIRED, email=ANN)
        (message,) = relay.messages[ANN]
        inner = parse(self.programs.decrypt_smime(message, self.pem[ANN], self.keys[ANN]))
        self.assertEqual([*inner.iter_attachments()], [])
        self.assertIn("https://", inner.get_body(("plain",)).get_content())

    async def test_large_audio_in_each_format(self) -> None:
        self.add_certificate(ANN)
        noise = np.random.default_rng(1).integers(-3000, 3000, 8000 * 240).astype("int16")
        for name, suffix in (("WAV", "wav"), ("MP3", "mp3"), ("OGG", "opus")):
            with subtest(suffix):
                path = Path(self.mktemp())
                subtype = "OPUS" if suffix == "opus" else None
                soundfile.write(path, noise, 8000, format=name, subtype=subtype)
                self.archive.path = path
                self.deliveries.rows.clear()
                self.mailbox.messages.clear()
                self.defaults = MessageDefaults("voxrec@example.org", 20_000_000)
                recording = replace(RECORDING, format=suffix)
                profile = replace(PROFILE, email=ANN, mail_encryption=MailEncryption.REQUIRED)
                await self.make_mailer(recording=recording, profile=profile)(JOB)
                (attached,) = parse(self.decrypt(ANN)).iter_attachments()
                audio: bytes = path.read_bytes()  # noqa: ASYNC240 - a local file of a test
                self.assertEqual(attached.get_content(), audio)
