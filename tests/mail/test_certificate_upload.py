"""Tests of voxrec.mail.certificate_upload and voxrec.mail.smime_certificate."""

import base64
import random
import time
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier
from twisted.trial.unittest import SynchronousTestCase

from tests.mail.key_pairs import MAIL, SIGNATURE, make_certificate, private_pem, rsa_key
from tests.subtest import subtest
from voxrec.mail.certificate_facts import CertificateFacts, InvalidCertificateError
from voxrec.mail.certificate_upload import read_certificate
from voxrec.model import CertificateType

ANN = "ann@example.org"
NOW = datetime.now(UTC)


def der(pem: bytes) -> bytes:
    return x509.load_pem_x509_certificate(pem).public_bytes(serialization.Encoding.DER)


class SmimeTests(SynchronousTestCase):
    def read(self, certificate: bytes) -> CertificateFacts:
        return read_certificate(certificate.decode(), NOW)

    def problem(self, certificate: bytes | str) -> str:
        text = certificate if isinstance(certificate, str) else certificate.decode()
        return str(self.assertRaises(InvalidCertificateError, read_certificate, text, NOW))

    def test_what_a_certificate_says(self) -> None:
        starts_at = NOW.replace(microsecond=0) - timedelta(days=1)
        expires_at = starts_at + timedelta(days=90)
        pem = make_certificate(
            ANN, "Ann.Example@example.org", subject_address=ANN, starts_at=starts_at, expires_at=expires_at
        )
        serial_number = x509.load_pem_x509_certificate(pem).serial_number
        facts = self.read(pem)
        self.assertEqual(
            facts,
            CertificateFacts(
                CertificateType.SMIME,
                pem.decode(),
                f"1.2.840.113549.1.9.1={ANN},CN=Ann Example",
                f"1.2.840.113549.1.9.1={ANN},CN=Ann Example",
                f"{serial_number:x}",
                (ANN, "Ann.Example@example.org"),
                sha256(der(pem)).hexdigest(),
                "RSA 2048",
                starts_at,
                expires_at,
            ),
        )

    def test_forms(self) -> None:
        pem = make_certificate(ANN)
        binary = base64.b64encode(der(pem))
        for form in (
            pem,
            pem.replace(b"\n", b"\r\n"),
            b"Bag Attributes\n    friendlyName: Ann\n" + pem,
            binary,
            b"\n".join(binary[start : start + 64] for start in range(0, len(binary), 64)),
        ):
            with subtest(form[:40]):
                self.assertEqual(self.read(form).certificate, pem.decode())

    def test_the_certificate_of_the_recipient_in_a_chain(self) -> None:
        authority = make_certificate("ca@example.org", ca=True)
        pem = make_certificate(ANN)
        self.assertEqual(self.read(authority + pem).addresses, (ANN,))
        self.assertIn("there are 2", self.problem(pem + make_certificate("bob@example.org")))
        self.assertIn("not of an authority", self.problem(authority + authority))

    def test_a_certificate_of_an_authority_for_itself_is_accepted(self) -> None:
        self.assertEqual(self.read(make_certificate(ANN, ca=True)).addresses, (ANN,))

    def test_international_addresses(self) -> None:
        address = "jörg@example.org".encode()
        name = x509.OtherName(ObjectIdentifier("1.3.6.1.5.5.7.8.9"), bytes([0x0C, len(address)]) + address)
        self.assertEqual(self.read(make_certificate(names=(name,))).addresses, ("jörg@example.org",))

    def test_without_usages_all_are_permitted(self) -> None:
        facts = self.read(make_certificate(ANN, usage=None, extended_usage=None))
        self.assertEqual(facts.addresses, (ANN,))

    def test_certificates_that_cannot_be_used(self) -> None:
        web = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
        curve = make_certificate(ANN, key=ec.generate_private_key(ec.SECP256R1()))
        for certificate, problem in (
            (make_certificate(ANN, expires_at=NOW - timedelta(minutes=1)), "expired on "),
            (make_certificate(ANN, starts_at=NOW + timedelta(days=1)), "is not valid before "),
            (make_certificate(ANN, usage=SIGNATURE), "its key usage lacks keyEncipherment"),
            (make_certificate(ANN, extended_usage=web), "its extended key usage lacks emailProtection"),
            (make_certificate(ANN, key=rsa_key("short", 1024)), "an RSA key of 1024 bits; expected 2048 to 16384 bits"),
            (curve, "has an elliptic curve key (secp256r1); voxrec encrypts only to RSA keys"),
            (make_certificate(ANN)[:400] + b"\n-----END CERTIFICATE-----\n", "is damaged, or no X.509 certificate"),
            ("-----BEGIN CERTIFICATE REQUEST-----\nMIIB\n-----END CERTIFICATE REQUEST-----", "is missing"),
            (base64.b64encode(der(make_certificate(ANN))[:300]), "is damaged, or no X.509 certificate"),
            ("ann@example.org", "is neither PEM"),
            ("\u00fc", "is neither PEM"),
            ("-----BEGIN", "is missing"),
            ("MA==", "is damaged"),
        ):
            with subtest(problem):
                self.assertIn(problem, self.problem(certificate))

    def test_malformed_certificates_are_refused_and_raise_nothing_else(self) -> None:
        """The library reads parts of a certificate late, and raises errors of several types."""
        original, generator = der(make_certificate(ANN, subject_address=ANN)), random.Random(5)  # noqa: S311
        refused = 0
        for _ in range(1500):
            damaged = bytearray(original)
            damaged[generator.randrange(len(damaged))] = generator.randrange(256)
            try:
                read_certificate(base64.b64encode(damaged).decode(), NOW)
            except InvalidCertificateError:
                refused += 1
        self.assertGreater(refused, 100)

    def test_a_key_to_which_nothing_can_be_encrypted(self) -> None:
        encoded = bytearray(der(make_certificate(ANN)))
        modulus = rsa_key().public_key().public_numbers().n.to_bytes(256, "big")
        encoded[encoded.index(modulus) + 255] &= 0xFE
        self.assertIn("to which nothing can be encrypted", self.problem(base64.b64encode(encoded)))
        exponent = der(make_certificate(ANN)).replace(b"\x02\x03\x01\x00\x01", b"\x02\x03\x00\x00\x01")
        self.assertIn("has an invalid public key", self.problem(base64.b64encode(exponent)))

    def test_many_beginnings_of_certificates(self) -> None:
        """The time grew with the square of the length: 2.7 s for 100 kB."""
        started = time.process_time()
        self.assertIn("is missing", self.problem("-----BEGIN CERTIFICATE-----" * 9700))
        self.assertLess(time.process_time() - started, 5)

    def test_many_addresses(self) -> None:
        addresses = [f"ann{number}@example.org" for number in range(101)]
        self.assertIn("names 101 mail addresses; expected at most 100", self.problem(make_certificate(*addresses)))
        self.assertEqual(len(self.read(make_certificate(*addresses[:100])).addresses), 100)

    def test_private_keys_are_refused_and_not_repeated(self) -> None:
        key, pem = rsa_key(), make_certificate(ANN)
        certificate = x509.load_pem_x509_certificate(pem)
        no_encryption = serialization.NoEncryption()
        password = serialization.BestAvailableEncryption(b"secret")
        encoded = [
            key.private_bytes(serialization.Encoding.DER, form, no_encryption)
            for form in (serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL)
        ]
        encoded.append(pkcs12.serialize_key_and_certificates(b"ann", key, certificate, None, password))
        for uploaded in (
            private_pem(key).decode(),
            (pem + private_pem(key)).decode(),
            *(base64.b64encode(data).decode() for data in encoded),
        ):
            with subtest(uploaded[:30]):
                problem = self.problem(uploaded)
                self.assertIn("contains a private key", problem)
                self.assertNotIn(uploaded[40:60], problem)

    def test_addresses(self) -> None:
        facts = self.read(make_certificate("Ann@EXAMPLE.org", extended_usage=MAIL))
        facts.require_address("ann@example.org")
        error = self.assertRaises(InvalidCertificateError, facts.require_address, "bob@example.org")
        self.assertIn("is for Ann@EXAMPLE.org, not for bob@example.org", str(error))
        self.read(make_certificate()).require_address("anyone@example.org")
        strasse = self.read(make_certificate("strasse@example.org"))
        self.assertRaises(InvalidCertificateError, strasse.require_address, "straße@example.org")
        international = self.read(make_certificate("ann@xn--bcher-kva.example"))
        international.require_address("ann@bücher.example")
