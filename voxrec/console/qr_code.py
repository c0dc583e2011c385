"""The QR code of a second factor, drawn here: its secret must not reach another host."""

from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

import segno

_MAX_URI = 500  # characters; a form returns the URI, so that it is shown again after a wrong code


@dataclass(frozen=True, slots=True)
class QrCode:
    """A QR code as the URL of an SVG image, the URI in it, and the secret in groups for people who type it."""

    image: str
    uri: str
    secret: str


def qr_code(uri: str) -> QrCode | None:
    """Return the QR code of a provisioning URI; None if it is empty or none."""
    secret = parse_qs(urlsplit(uri).query).get("secret", [""])[0] if uri.startswith("otpauth://") else ""
    if not secret or len(uri) > _MAX_URI:
        return None
    image = segno.make_qr(uri, error="m").svg_data_uri(scale=4, border=4, dark="#000", light="#fff")
    groups = " ".join(secret[start : start + 4] for start in range(0, len(secret), 4))
    return QrCode(image, uri, groups)
