"""/console/sign-in: the pages for signing in with a password and a code, and at the identity provider."""

from collections.abc import Mapping
from typing import Any, Final, Protocol
from uuid import UUID

from voxrec.console.form_data import MAX_SIZE_WITHOUT_USER
from voxrec.console.messages import problem_message
from voxrec.console.qr_code import qr_code
from voxrec.console.rendering import Renderer
from voxrec.console.rest_client import CallRest, RestClient, RestFailed, document
from voxrec.console.visit import SIGN_IN, START, Visit, form, language_of, query, redirect
from voxrec.oidc.errors import ProviderSignInError, Reason
from voxrec.web.dispatcher import ANONYMOUS
from voxrec.web.errors import NotAuthenticated, SignInExpired, TooManyAttempts, TooManyRequests
from voxrec.web.request import Request
from voxrec.web.response import Response
from voxrec.web.session_cookie import SessionCookie

CALLBACK: Final = "/console/sign-in/provider/callback"
"""The page to which the provider sends browsers back."""

_VALID_TICKET: Final = (NotAuthenticated.status, TooManyAttempts.status)
_REFUSED, _UNAVAILABLE, _SERVER_ERRORS, _INVALID = 403, 503, 500, 422


class SingleSignOn(Protocol):
    """The identity provider; see `voxrec.api.auth.single_sign_on.SingleSignOn`."""

    @property
    def label(self) -> str:
        """The name of the provider on the button for signing in."""

    async def begin(self, request: Request, next_: str) -> tuple[str, Mapping[str, str]]:
        """Return the URL of the provider, and headers of the redirection to it."""

    async def complete(self, request: Request, response: Mapping[str, str]) -> tuple[str, Mapping[str, str]]:
        """Return the page to continue with, and headers of the redirection to it."""

    async def id_token(self, session_id: UUID | None) -> str | None:
        """Return the ID token of the user of a session; None if the user has signed in with a password."""

    async def sign_out_url(self, id_token: str) -> str | None:
        """Return the URL at which the user with an ID token signs out of the provider, too."""


class SignInPages:
    """The pages that need no session.

    ``passwords`` tells whether the form for a password is shown; ``provider`` is None if there is none.
    """

    def __init__(
        self, call: CallRest, cookie: SessionCookie, renderer: Renderer, provider: SingleSignOn | None, passwords: str
    ) -> None:
        self._call = call
        self._cookie = cookie
        self._renderer = renderer
        self._provider = provider
        self._passwords = passwords

    async def show(self, request: Request) -> Response:
        """Show the form, and the button of the provider."""
        return self._page(request, query(request).get("next", ""))

    async def enter_password(self, request: Request) -> Response:
        """Sign in with a name and a password, and continue, or ask for a code."""
        self._cookie.require_same_origin(request.method, request.headers)
        fields = form(request, MAX_SIZE_WITHOUT_USER)
        name, next_ = fields.get("name", ""), fields.get("next", "")
        credentials = {"name": name, "password": fields.get("password", "")}
        try:
            response = await self._rest(request).send("PUT", "/session", credentials)
        except RestFailed as failed:
            return self._page(request, next_, name, _password_error(request, failed), failed.problem.status)
        if "Set-Cookie" in response.headers:
            return redirect(own_page(next_), {"Set-Cookie": response.headers["Set-Cookie"]})
        challenge = document(response)
        uri = challenge["enrolment"]["uri"] if challenge["enrolment"] else ""
        return self._code_page(request, challenge["ticket"], next_, uri)

    async def enter_code(self, request: Request) -> Response:
        """Enter the code, and continue. After the first code of a second factor, its recovery codes are shown."""
        self._cookie.require_same_origin(request.method, request.headers)
        fields = form(request, MAX_SIZE_WITHOUT_USER)
        ticket, next_, uri = fields.get("ticket", ""), fields.get("next", ""), fields.get("uri", "")
        try:
            entry = {"ticket": ticket, "code": fields.get("code", "")}
            response = await self._rest(request).send("PUT", "/session/code", entry)
        except RestFailed as failed:
            error = _code_error(request, failed)
            if failed.problem.code == SignInExpired.code:
                return self._page(request, next_, error=error, status=failed.problem.status)
            # drawing takes the time of calls, so that only those with a valid ticket may ask for it
            shown = uri if failed.problem.status in _VALID_TICKET else ""
            return self._code_page(request, ticket, next_, shown, error, failed.problem.status)
        headers = {"Set-Cookie": response.headers["Set-Cookie"]}
        codes = document(response)["recoveryCodes"]
        if not codes:
            return redirect(own_page(next_), headers)
        language = language_of(request.headers)
        page = self._renderer.page("recovery_codes.html", language, codes=codes, next=own_page(next_))
        return Response(page.status, {**page.headers, **headers}, page.body)

    async def begin(self, request: Request) -> Response:
        """Send the browser to the provider."""
        if self._provider is None:
            return redirect(SIGN_IN)
        try:
            url, headers = await self._provider.begin(request, own_page(query(request).get("next", "")))
        except (ProviderSignInError, TooManyRequests) as error:
            return self._provider_error(request, error)
        return redirect(url, headers)

    async def complete(self, request: Request) -> Response:
        """Receive the response of the provider, and continue."""
        if self._provider is None:
            return redirect(SIGN_IN)
        try:
            next_, headers = await self._provider.complete(request, query(request))
        except (ProviderSignInError, TooManyRequests) as error:
            return self._provider_error(request, error)
        return redirect(own_page(next_), headers)

    async def sign_out(self, visit: Visit) -> Response:
        """End the session, and that at the provider if it offers this."""
        id_token = None if self._provider is None else await self._provider.id_token(visit.user.session_id)
        response = await visit.rest.send("DELETE", "/session", cookie=visit.request.headers.get("cookie", ""))
        headers = {"Set-Cookie": response.headers["Set-Cookie"]}
        if self._provider is None or id_token is None or (url := await self._provider.sign_out_url(id_token)) is None:
            return redirect(SIGN_IN, headers)
        # a page, and no redirection: the policy of the form permits none to another site, nor where that redirects to
        page = self._renderer.page("sign_out.html", visit.language, url=url, label=self._provider.label)
        return Response(page.status, {**page.headers, **headers}, page.body)

    async def show_signed_out(self, request: Request) -> Response:
        """Say that the user is signed out; the provider sends browsers here."""
        return self._page(request, "", done=language_of(request.headers).text("signed_out"))

    def _rest(self, request: Request) -> RestClient:
        return RestClient(self._call, ANONYMOUS, request.address, request.headers.get("user-agent", ""))

    def _page(
        self, request: Request, next_: str, name: str = "", error: str = "", status: int = 200, done: str = ""
    ) -> Response:
        return self._renderer.page(
            "sign_in.html",
            language_of(request.headers),
            status,
            name=name,
            next=own_page(next_),
            error=error,
            done=done,
            label=None if self._provider is None else self._provider.label,
            passwords=self._passwords,
        )

    def _code_page(
        self, request: Request, ticket: str, next_: str, uri: str, error: str = "", status: int = 200
    ) -> Response:
        values: dict[str, Any] = {"ticket": ticket, "next": own_page(next_), "error": error}
        return self._renderer.page(
            "sign_in_code.html", language_of(request.headers), status, enrolment=qr_code(uri), **values
        )

    def _provider_error(self, request: Request, error: ProviderSignInError | TooManyRequests) -> Response:
        text = language_of(request.headers).text
        label = "" if self._provider is None else self._provider.label
        if isinstance(error, TooManyRequests):
            return self._page(request, "", error=text("provider_busy"), status=error.status)
        status = _UNAVAILABLE if error.reason is Reason.UNAVAILABLE else _REFUSED
        return self._page(request, "", error=text(f"provider_{error.reason}", label=label), status=status)


def own_page(target: str) -> str:
    """Return a page of the console to continue with: a user must not be sent to another site after signing in."""
    is_own = target.startswith("/console/") and "\\" not in target and target.isprintable()
    return target if is_own else START


def _password_error(request: Request, failed: RestFailed) -> str:
    language = language_of(request.headers)
    text = language.text
    if failed.problem.status == TooManyAttempts.status:
        return text("throttled", seconds=failed.headers.get("Retry-After", "60"))
    if failed.problem.status >= _SERVER_ERRORS:
        return problem_message(language, failed.problem)
    if failed.problem.code == "not-allowed":
        return text("password_refused")
    return text("wrong_password")


def _code_error(request: Request, failed: RestFailed) -> str:
    language = language_of(request.headers)
    text = language.text
    if failed.problem.status == TooManyAttempts.status:
        return text("throttled_codes", seconds=failed.headers.get("Retry-After", "60"))
    if failed.problem.code == SignInExpired.code:
        return text("code_expired")
    if failed.problem.status in (NotAuthenticated.status, _INVALID):
        return text("wrong_code")
    return problem_message(language, failed.problem)
