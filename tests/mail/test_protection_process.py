"""Tests of voxrec.mail.protection_process: a large message, which OpenSSL decrypts and verifies."""

import sys
from dataclasses import replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import dsa
from twisted.trial.unittest import SynchronousTestCase

from tests.mail.key_pairs import Programs, make_certificate, private_pem, rsa_key
from tests.subtest import subtest
from voxrec.mail import protection_process
from voxrec.mail.protection import Encryption, ProtectionError, TransientProtectionError
from voxrec.mail.protection_process import SMALL, protect_message
from voxrec.mail.smime_signature import Signer, load_signer

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
        encryption = Encryption((pem.decode(),))
        protected = protect_message(MESSAGE, encryption, self.signer(), hide_subject=True)
        self.assertTrue(protected.startswith(b"Subject: [...]\r\n"))
        decrypted = programs.decrypt_smime(protected, pem, rsa_key())
        trusted = programs.write("trusted.pem", self.certificate)
        content = programs.run("openssl", "cms", "-verify", "-CAfile", trusted, stdin=decrypted)
        self.assertIn(b"Subject: secret\r\n", content)
        self.assertTrue(content.endswith(TEXT * 100))

    def test_faults_of_this_machine_are_transient(self) -> None:
        encryption = Encryption((make_certificate(ANN).decode(),))
        ended = Path(self.mktemp()).absolute()
        ended.write_text("#!/bin/sh\nkill -9 $$\n")
        ended.chmod(0o700)
        for executable, problem in (
            ("/nonexistent/python", "failed: No such file or directory"),
            (str(ended), "ended with signal 9"),
            ("/bin/false", "ended with status 1"),
        ):
            with subtest(problem):
                self.patch(sys, "executable", executable)
                error = self.assertRaises(
                    TransientProtectionError, protect_message, MESSAGE, encryption, None, hide_subject=True
                )
                self.assertIn(problem, str(error))

    def test_a_process_that_takes_too_long_is_ended(self) -> None:
        pid, waiting = Path(self.mktemp()).absolute(), Path(self.mktemp()).absolute()
        waiting.write_text(f"#!/bin/sh\necho $$ > {pid}\nexec sleep 600\n")
        waiting.chmod(0o700)
        self.patch(sys, "executable", str(waiting))
        self.patch(protection_process, "_TIME_LIMIT", 2.0)
        error = self.assertRaises(
            TransientProtectionError, protect_message, MESSAGE, Encryption(("",)), None, hide_subject=True
        )
        self.assertIn("took more than 2 s", str(error))
        self.assertFalse(Path("/proc", pid.read_text().strip()).exists())

    def test_a_signature_that_fails_is_transient(self) -> None:
        unknown = dsa.generate_private_key(2048)
        signer = replace(self.signer(), key=unknown)  # type: ignore[arg-type]
        error = self.assertRaises(
            TransientProtectionError, protect_message, MESSAGE[: SMALL // 2], None, signer, hide_subject=True
        )
        self.assertIn("the message cannot be signed: ", str(error))

    def test_a_message_that_cannot_be_protected(self) -> None:
        encryption = Encryption(("-----BEGIN",))
        for message in (MESSAGE, MESSAGE[: SMALL // 2]):
            error = self.assertRaises(ProtectionError, protect_message, message, encryption, None, hide_subject=True)
            self.assertIn("the message cannot be encrypted: ", str(error))
