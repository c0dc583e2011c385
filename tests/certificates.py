"""Self-signed certificates for servers of tests on loopback."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat


def make_pem(*hosts: str, expires_in: timedelta = timedelta(hours=1)) -> tuple[bytes, bytes]:
    """Return a private key and its self-signed certificate for host names and IP addresses, both in PEM.

    The certificate is a certificate authority of itself only, and valid from an hour before the earlier of now and its
    expiry.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, hosts[0])])
    expiry = datetime.now(UTC) + expires_in
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(expiry, datetime.now(UTC)) - timedelta(hours=1))
        .not_valid_after(expiry)
        .add_extension(x509.SubjectAlternativeName([_general_name(host) for host in hosts]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private, certificate.public_bytes(Encoding.PEM)


def write_certificate(directory: Path, *hosts: str) -> tuple[Path, Path]:
    """Write the private key and the certificate of `make_pem` to files of their own, and return their paths."""
    key_file, certificate_file = directory / "key.pem", directory / "certificate.pem"
    private, public = make_pem(*hosts)
    key_file.write_bytes(private)
    certificate_file.write_bytes(public)
    return key_file, certificate_file


def _general_name(host: str) -> x509.GeneralName:
    with suppress(ValueError):
        return x509.IPAddress(ip_address(host))
    return x509.DNSName(host)
