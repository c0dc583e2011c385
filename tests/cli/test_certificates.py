"""Tests of ``voxrec certificates``."""

from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.cli.command_test_case import CommandTestCase
from tests.mail.key_pairs import make_certificate, private_pem, rsa_key

ANN = "ann@example.org"


class CertificatesCommandTests(CommandTestCase):
    group = "certificates"

    def write(self, data: bytes) -> str:
        path = Path(self.mktemp())
        path.write_bytes(data)
        return str(path)

    def test_add_list_and_delete(self) -> None:
        pem = make_certificate(ANN)
        added = self.voxrec("add", ANN, self.write(pem))
        self.assertEqual(added.exit_code, 0, added.output)
        listed = self.voxrec("list")
        self.assertIn(added.stdout.strip(), listed.stdout)
        self.assertRegex(listed.stdout, r"ann@example\.org +smime +RSA 2048 +\d{4}-\d\d-\d\d \d\d:\d\d UTC")
        self.assertEqual(self.query("SELECT certificate FROM recipient_certificates"), [(pem.decode(),)])
        deleted = self.voxrec("delete", added.stdout.strip())
        self.assertEqual(deleted.exit_code, 0, deleted.output)
        self.assertEqual(self.query("SELECT certificate FROM recipient_certificates"), [])
        paths = {path for _, path, _, _, _ in self.audit_entries()}
        self.assertEqual(paths, {"voxrec certificates add", "voxrec certificates delete"})

    def test_binary_form(self) -> None:
        der = x509.load_pem_x509_certificate(make_certificate(ANN)).public_bytes(Encoding.DER)
        self.assertEqual(self.voxrec("add", ANN, self.write(der)).exit_code, 0)

    def test_refusals(self) -> None:
        for address, data, problem in (
            (ANN, make_certificate("bob@example.org"), "not for ann@example.org; use --other-address if"),
            (ANN, private_pem(rsa_key()), "contains a private key"),
            (ANN, b"\0", "is damaged"),
            ("ann", make_certificate(ANN), "invalid email address 'ann'"),
        ):
            result = self.voxrec("add", address, self.write(data))
            self.assertNotEqual(result.exit_code, 0)
            self.assertIn(problem, " ".join(result.output.split()))
        other = self.voxrec("add", ANN, self.write(make_certificate("bob@example.org")), "--other-address")
        self.assertEqual(other.exit_code, 0, other.output)
        missing = self.voxrec("delete", "77777777-7777-4777-8777-777777777773")
        self.assertIn("There is no recipient certificate", missing.output)
