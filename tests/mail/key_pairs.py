"""Fixtures: key pairs of recipients of encrypted mails, and the Debian programs that decrypt as a recipient does."""

import subprocess
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from voxrec.sandbox.namespaces import MountNamespace
from voxrec.sandbox.rootfs import Recipe, ensure_rootfs

PROGRAMS: Final = Recipe("mail-programs", "bookworm", ("openssl",))
MAIL: Final = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


def _usage(*, content_commitment: bool = False, key_encipherment: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=content_commitment,
        key_encipherment=key_encipherment,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


ENCRYPTION: Final = _usage(key_encipherment=True)
SIGNATURE: Final = _usage(content_commitment=True)


@cache
def rsa_key(name: str = "ann", bits: int = 2048) -> rsa.RSAPrivateKey:
    """Return the key of a person; it takes 0.1 s to generate, so that tests share it."""
    del name
    return rsa.generate_private_key(65_537, bits)


def make_certificate(
    *addresses: str,
    key: PrivateKey | None = None,
    usage: x509.KeyUsage | None = ENCRYPTION,
    extended_usage: x509.ExtendedKeyUsage | None = MAIL,
    starts_at: datetime | None = None,
    expires_at: datetime | None = None,
    subject_address: str | None = None,
    names: tuple[x509.GeneralName, ...] = (),
    ca: bool = False,
) -> bytes:
    """Return a self-signed certificate in PEM for mail addresses, valid for a year by default."""
    now, signer = datetime.now(UTC), key or rsa_key()
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, "Ann Example")]
    if subject_address is not None:
        attributes.append(x509.NameAttribute(NameOID.EMAIL_ADDRESS, subject_address))
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(attributes))
        .issuer_name(x509.Name(attributes))
        .public_key(signer.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(starts_at or now - timedelta(hours=1))
        .not_valid_after(expires_at or now + timedelta(days=365))
    )
    general_names = [*map(x509.RFC822Name, addresses), *names]
    extensions: list[x509.ExtensionType] = [
        *([x509.SubjectAlternativeName(general_names)] if general_names else []),
        *filter(None, (usage, extended_usage)),
        *([x509.BasicConstraints(ca=True, path_length=None)] if ca else []),
    ]
    for extension in extensions:
        builder = builder.add_extension(extension, critical=isinstance(extension, x509.KeyUsage))
    return builder.sign(signer, hashes.SHA256()).public_bytes(Encoding.PEM)


def private_pem(key: PrivateKey) -> bytes:
    """Return a private key in PEM."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


class Programs:
    """OpenSSL of Debian, which reads and writes files in ``directory`` only."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self._namespace = MountNamespace(ensure_rootfs(PROGRAMS, print), self.directory)
        self._namespace.prepare()

    def run(self, *program: str, stdin: bytes = b"") -> bytes:
        """Run a program, whose files are in ``/mnt``, and return its output. Raises AssertionError if it fails."""
        command = self._namespace.command(program)
        done = subprocess.run(command, input=stdin, capture_output=True, check=False, timeout=120)  # noqa: S603
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        return done.stdout

    def write(self, name: str, data: bytes) -> str:
        """Write a file, and return its path for the programs."""
        (self.directory / name).write_bytes(data)
        return f"/mnt/{name}"

    def decrypt_smime(self, message: bytes, certificate: bytes, key: PrivateKey) -> bytes:
        """Return what a recipient decrypts from a whole message."""
        return self.run(
            *("openssl", "cms", "-decrypt", "-binary"),
            *("-recip", self.write("recipient.pem", certificate)),
            *("-inkey", self.write("key.pem", private_pem(key))),
            stdin=message,
        )
