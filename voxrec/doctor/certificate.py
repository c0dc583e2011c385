"""Check of the TLS certificate of REST."""

import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import Certificate, load_pem_x509_certificate
from service_identity import CertificateError, VerificationError
from service_identity.cryptography import verify_certificate_hostname, verify_certificate_ip_address

from voxrec.config import Config
from voxrec.doctor.finding import Finding, failed, ok, warning
from voxrec.doctor.rest_address import parse_listen

_CHECK: Final = "REST certificate"
_EXPIRY_NOTICE: Final = timedelta(days=14)
_TIMEOUT: Final = 5.0  # seconds


def check_certificate(config: Config) -> Iterator[Finding]:
    """Check that the certificate is valid at present, is for the host of rest.public_url, and that the daemon has it.

    That the key belongs to it is part of the check of the settings.
    """
    address = parse_listen(config.rest.listen)
    if address.kind != "ssl":
        return
    file = Path(address.options.get("certKey") or address.options.get("privateKey") or "server.pem")  # as Twisted does
    certificate = load_pem_x509_certificate(file.read_bytes())
    now, expiry = datetime.now(UTC), certificate.not_valid_after_utc
    renewal = "renew it, and systemctl reload voxrec"
    if not certificate.not_valid_before_utc <= now < expiry:
        period = f"{certificate.not_valid_before_utc:%Y-%m-%d %H:%M} to {expiry:%Y-%m-%d %H:%M} UTC"
        yield failed(_CHECK, f"{file} is valid from {period} only", f"{renewal}; or correct the clock")
    elif expiry - now < _EXPIRY_NOTICE:
        yield warning(_CHECK, f"{file} expires on {expiry:%Y-%m-%d %H:%M} UTC", renewal)
    else:
        yield ok(_CHECK, f"{file} is valid until {expiry:%Y-%m-%d}")
    url = urlsplit(config.rest.public_url)
    if url.scheme == "https" and not _is_for(certificate, url.hostname or ""):
        yield failed(
            f"{_CHECK} host",
            f"{file} is not for {url.hostname}, the host of rest.public_url",
            "use a certificate with this name as subject alternative name, or correct rest.public_url",
        )
    served = _served_certificate(address.target, address.port)
    if served is not None and served != certificate.public_bytes(Encoding.DER):
        yield warning(f"{_CHECK} in use", f"the daemon uses another one than {file}", "systemctl reload voxrec")


def _is_for(certificate: Certificate, host: str) -> bool:
    try:
        if _is_address(host):
            verify_certificate_ip_address(certificate, host)
        else:
            verify_certificate_hostname(certificate, host)
    except (VerificationError, CertificateError, ValueError):
        return False
    return True


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _served_certificate(host: str, port: int) -> bytes | None:
    """Return the certificate of the server that listens there, in DER; None if there is none."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection((host, port), _TIMEOUT) as connection, context.wrap_socket(connection) as tls:
            return tls.getpeercert(binary_form=True)
    except OSError:
        return None  # the finding about the daemon says why
