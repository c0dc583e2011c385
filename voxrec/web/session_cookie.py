"""The cookie of a session, and protection against requests that pages of other sites send with it (CSRF)."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from voxrec.error_codes import ProblemReason
from voxrec.web.errors import NotAllowed
from voxrec.web.methods import SAFE_METHODS

_SAME_ORIGIN: Final = frozenset({"same-origin", "none"})  # none: the user has entered the URL


class SessionCookie:
    """The cookie in which a browser keeps the secret of a session, for an API at ``public_url``.

    ``name`` is that of another cookie with the same protection.

    Scripts cannot read it (HttpOnly), and browsers do not send it with requests of other sites, except for navigation
    (SameSite=Lax). With HTTPS it has the prefix ``__Host-``, so that no other host can set it (RFC 6265bis section
    4.1.3).
    """

    def __init__(self, public_url: str, name: str = "voxrec_session") -> None:
        parts = urlsplit(public_url)
        self._secure = parts.scheme == "https"
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self.name = f"__Host-{name}" if self._secure else name

    def value(self, headers: Mapping[str, str]) -> str:
        """Return the value of the cookie of a request, or an empty string."""
        for pair in headers.get("cookie", "").replace(",", ";").split(";"):  # repeated headers are joined by commas
            name, _, value = pair.strip().partition("=")
            if name == self.name:
                return value
        return ""

    def header(self, secret: str, seconds: int) -> dict[str, str]:
        """Return the response header that sets the cookie for some seconds; 0 deletes it."""
        secure = "; Secure" if self._secure else ""
        return {
            "Set-Cookie": f"{self.name}={secret}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}",
        }

    def require_same_origin(self, method: str, headers: Mapping[str, str]) -> None:
        """Raise NotAllowed if a browser sends a changing request on behalf of a page of another origin.

        Browsers say so in Sec-Fetch-Site (Fetch Metadata), which scripts cannot set, if the connection is secure; in
        other cases Origin has to be that of the API. A request with neither is not from a page.
        """
        if method in SAFE_METHODS:
            return
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        if site is None:
            allowed = origin is None or origin == self._origin or urlsplit(origin).netloc == headers.get("host")
        else:
            allowed = site in _SAME_ORIGIN
        if not allowed:
            raise NotAllowed(
                "This request was sent by a page of another site with the cookie of a session. Use a token instead.",
                reason=ProblemReason.CROSS_ORIGIN,
            )
