"""Small blocking HTTP requests, for diagnosis only."""

import base64
import ssl
import urllib.error
import urllib.request
from typing import Any, Final, NamedTuple

import msgspec

_TIMEOUT: Final = 5.0  # seconds


class Reply(NamedTuple):
    """Status code, and the body parsed as JSON (None if it is not JSON)."""

    status: int
    content: Any


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirection, as the daemon does not."""

    def redirect_request(self, *_: object) -> None:
        """Return no request to follow with."""


def get(url: str, user: str = "", password: str = "", *, verify: bool = True, ca_file: str = "") -> Reply:
    """Send a GET request; any status is a reply. Raises OSError or http.client.HTTPException if there is none.

    ``verify`` false accepts any certificate: a daemon asks itself by an address that is not in its certificate.
    ``ca_file`` has the authorities that are trusted; without it, those of the system are.
    """
    request = urllib.request.Request(url)  # noqa: S310 - the scheme of a setting is checked
    if user:
        credentials = base64.b64encode(f"{user}:{password}".encode()).decode()
        request.add_header("Authorization", f"Basic {credentials}")
    context = ssl.create_default_context(cafile=ca_file or None)
    if not verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    handlers = [urllib.request.HTTPSHandler(context=context), urllib.request.ProxyHandler({}), _NoRedirect()]
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=_TIMEOUT) as response:
            return Reply(response.status, _parse(response.read()))
    except urllib.error.HTTPError as error:
        with error:
            return Reply(error.code, _parse(error.read()))


def _parse(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError:
        return None
