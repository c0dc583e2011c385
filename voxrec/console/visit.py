"""One request for a page by a user who is signed in, and the decorator that all such pages share."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, Protocol
from urllib.parse import parse_qsl, quote, urlencode

from voxrec.console.rendering import LANGUAGES, Renderer
from voxrec.console.rest_client import CallRest, RestClient, RestFailed
from voxrec.languages import Language
from voxrec.web.auth import Principal, Role
from voxrec.web.errors import BadRequest
from voxrec.web.request import Request
from voxrec.web.response import Response

SIGN_IN: Final = "/console/sign-in"
SIGNED_OUT: Final = "/console/signed-out"
START: Final = "/console/recordings"
_MAX_FIELDS: Final = 50  # of a query
MAX_FORM_FIELDS: Final = 1100  # a user may be limited to 1,000 Profiles
_TITLES: Final = {403: "refused", 404: "not_found"}
_DETAILS: Final = {"list-timeout": "list_timeout"}  # texts for codes of problems that users can solve
_OFFSET_COOKIE: Final = "voxrec_utc_offset"  # of the viewer's time zone, in minutes; set by a script (console.js)
_NAVIGATION: Final = (
    ("/console/recordings", "recordings", Role.READ),
    ("/console/calls", "calls", Role.READ),
    ("/console/profiles", "profiles", Role.READ),
    ("/console/operations", "operations", Role.READ),
    ("/console/webhooks", "webhooks", Role.PROVISION),
    ("/console/users", "users", Role.ADMIN),
    ("/console/tokens", "tokens", Role.ADMIN),
    ("/console/audit", "audit", Role.ADMIN),
)
"""Address, name and required role of the parts of the console."""


class FindUser(Protocol):
    """Returns the user of a session; see `voxrec.web.auth.AccessControl.user_of_session`."""

    async def __call__(
        self, address: str, method: str, headers: Mapping[str, str], *, background: bool = False
    ) -> Principal | None:
        """Return the user, or None."""


@dataclass(frozen=True, slots=True)
class Visit:
    """A request for a page: the user, the user's language, and the REST API on behalf of the user."""

    request: Request
    user: Principal
    language: Language
    rest: RestClient
    renderer: Renderer

    def page(self, template: str, section: str = "", /, status: int = 200, **values: Any) -> Response:
        """Return a page. ``section`` is the part of the console that is current in the navigation."""
        navigation = [(path, key) for path, key, role in _NAVIGATION if self.may(role)]
        return self.renderer.page(
            template, self.language, status, user=self.user, navigation=navigation, section=section, **values
        )

    def may(self, role: Role) -> bool:
        """Return whether the user has a role."""
        return self.user.role.includes(role)

    @property
    def utc_offset(self) -> str:
        """The viewer's offset from UTC in minutes, as the browser says; empty if it is unknown."""
        return self.cookie(_OFFSET_COOKIE)

    def cookie(self, name: str) -> str:
        """Return the value of a cookie; empty if there is none with this name."""
        for cookie in self.request.headers.get("cookie", "").split(";"):
            key, _, value = cookie.strip().partition("=")
            if key == name:
                return value
        return ""

    async def profile_names(self) -> dict[str, str]:
        """Return names of the user's Profiles by id, for at most 1,000 of them."""
        profiles = (await self.rest.page("/profiles", limit=1000)).items
        return {profile["id"]: profile_label(profile) for profile in profiles}


def profile_label(profile: Mapping[str, Any]) -> str:
    """Return what people recognise a Profile by: its name, its first number, or its id."""
    return str(profile["name"] or (*profile["numbers"], profile["id"])[0])


class Visits:
    """Makes pages accessible to users who are signed in; others are sent to the page for signing in."""

    def __init__(self, find_user: FindUser, call: CallRest, renderer: Renderer) -> None:
        self._find_user = find_user
        self._call = call
        self._renderer = renderer

    def signed_in(
        self, show: Callable[[Visit], Awaitable[Response]], role: Role = Role.READ, *, background: bool = False
    ) -> Callable[[Request], Awaitable[Response]]:
        """Return the handler of a page for users with ``role``. What is refused becomes a page with the reason.

        ``background``: a script of the page sends the request by itself, so that it does not prolong the session.
        """

        async def handle(request: Request) -> Response:
            user = await self._find_user(request.address, request.method, request.headers, background=background)
            if user is None:
                return redirect(_sign_in_url(request))
            client = RestClient(self._call, user, request.address, request.headers.get("user-agent", ""))
            visit = Visit(request, user, language_of(request), client, self._renderer)
            if not visit.may(role):
                return _refusal(visit, role)
            try:
                return await show(visit)
            except RestFailed as failed:
                return _error_page(visit, failed)

        return handle


def language_of(request: Request) -> Language:
    """Return the language that the browser prefers."""
    return LANGUAGES.choose(request.headers.get("accept-language", ""))


def redirect(url: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return a redirection to a page, after a form was sent or to another place (303)."""
    return Response(303, {"Location": url, **(headers or {})})


def to_recording(visit: Visit, anchor: str = "") -> Response:
    """Return a redirection to the page of a Recording after a form of it was sent, with the list that led to it."""
    parameters = urlencode(query(visit.request))
    return redirect(f"{START}/{visit.request.id}{f'?{parameters}' if parameters else ''}{anchor}")


def form(request: Request) -> dict[str, str]:
    """Return the fields of a form. Raises BadRequest."""
    try:
        return dict(parse_qsl(request.raw_body.decode(), keep_blank_values=True, max_num_fields=MAX_FORM_FIELDS))
    except ValueError as error:
        raise BadRequest("The body is not a form.") from error


def query(request: Request) -> dict[str, str]:
    """Return the parameters of the query. Raises BadRequest."""
    try:
        return dict(parse_qsl(request.raw_query.decode(), max_num_fields=_MAX_FIELDS))
    except ValueError as error:
        raise BadRequest("The query is not UTF-8, or has too many parameters.") from error


def _sign_in_url(request: Request) -> str:
    if request.method != "GET":
        return SIGN_IN
    target = request.path + (f"?{request.raw_query.decode('ascii', 'ignore')}" if request.raw_query else "")
    return f"{SIGN_IN}?next={quote(target, safe='/')}"


def _refusal(visit: Visit, role: Role) -> Response:
    text = visit.language.text
    detail = text("required_role", role=text(f"role_{role}"))
    return visit.page("error.html", status=403, title=text("refused"), detail=detail, errors=(), back=START)


def _error_page(visit: Visit, failed: RestFailed) -> Response:
    problem = failed.problem
    title = visit.language.text(_TITLES.get(problem.status, "failed"))
    detail = visit.language.text(_DETAILS[problem.code]) if problem.code in _DETAILS else problem.detail
    return visit.page(
        "error.html",
        status=HTTPStatus(problem.status),
        title=title,
        detail=detail,
        errors=problem.errors,
        back=START,
    )
