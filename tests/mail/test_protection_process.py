"""Tests of voxrec.mail.protection_process: a large message, which OpenSSL decrypts and verifies."""

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.mail.key_pairs import Programs, make_certificate, private_pem, rsa_key
from voxrec.mail.protection import Encryption, ProtectionError
from voxrec.mail.protection_process import SMALL, protect_message
from voxrec.mail.smime_signature import Signer, load_signer
from voxrec.model import CertificateType

ANN = "ann@example.org"
TEXT = b"0123456789" * 7 + b"\r\n"
MESSAGE = b"Subject: secret\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\n" + TEXT * (SMALL // 70)


class ProtectionProcessTests(SynchronousTestCase):
    timeout = 240  # the first run builds the root file system

    def signer(self) -> Signer:
        directory = Path(self.mktemp())
        directory.mkdir()
        certificate = make_certificate("voxrec@example.org", key=rsa_key("voxrec"), ca=True)
        (directory / "certificate.pem").write_bytes(certificate)
        (directory / "key.pem").write_bytes(private_pem(rsa_key("voxrec")))
        (directory / "key.pem").chmod(0o600)
        self.certificate = certificate
        return load_signer(directory / "certificate.pem", directory / "key.pem")

    def test_a_large_message(self) -> None:
        self.assertGreater(len(MESSAGE), SMALL)
        pem, programs = make_certificate(ANN), Programs(Path(self.mktemp()))
        encryption = Encryption(CertificateType.SMIME, (pem.decode(),))
        protected = protect_message(MESSAGE, encryption, self.signer(), hide_subject=True)
        self.assertTrue(protected.startswith(b"Subject: [...]\r\n"))
        decrypted = programs.decrypt_smime(protected, pem, rsa_key())
        trusted = programs.write("trusted.pem", self.certificate)
        content = programs.run("openssl", "cms", "-verify", "-CAfile", trusted, stdin=decrypted)
        self.assertIn(b"Subject: secret\r\n", content)
        self.assertTrue(content.endswith(TEXT * 100))

    def test_a_message_that_cannot_be_protected(self) -> None:
        encryption = Encryption(CertificateType.SMIME, ("-----BEGIN",))
        for message in (MESSAGE, MESSAGE[: SMALL // 2]):
            error = self.assertRaises(ProtectionError, protect_message, message, encryption, None, hide_subject=True)
            self.assertIn("the message cannot be protected: ", str(error))
