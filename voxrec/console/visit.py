"""One request for a page by a user who is signed in, and the decorator that all such pages share."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, Protocol
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from voxrec.console.form_data import MAX_SIZE, MAX_SIZE_WITHOUT_USER, form_entries, has_files
from voxrec.console.messages import field_message, problem_message
from voxrec.console.rendering import LANGUAGES, Renderer
from voxrec.console.rest_client import CallRest, RestClient, RestFailed, problem_of
from voxrec.languages import Language
from voxrec.web.auth import Principal, Role
from voxrec.web.errors import BadRequest
from voxrec.web.problems import Problem
from voxrec.web.request import Request
from voxrec.web.response import Response

SIGN_IN: Final = "/console/sign-in"
SIGNED_OUT: Final = "/console/signed-out"
SIGNED_IN: Final = "/console/signed-in"
START: Final = "/console/recordings"
_MAX_FIELDS: Final = 50  # of a query
_DONE: Final = "done"  # the parameter of a page that names what was done before
_TITLES: Final = {403: "refused", 404: "not_found", 413: "too_much", 429: "busy", 503: "unavailable"}
# what a page that keeps the entries of a form must not contain
_SECRETS: Final = frozenset({"password", "currentPassword", "newPassword", "repeated", "code", "ticket", "uri"})
# the field that a script (console.js) adds to forms: the user for whom the page was made; tabs share their session
_SENDER: Final = "_user"
_ZONE_COOKIE: Final = "voxrec_time_zone"  # that of the viewer; set by a script (console.js)
_NAVIGATION: Final = (
    ("/console/recordings", "recordings", Role.READ),
    ("/console/calls", "calls", Role.READ),
    ("/console/profiles", "profiles", Role.READ),
    ("/console/certificates", "certificates", Role.READ),
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
        done = f"done_{query(self.request).get(_DONE, '')}"
        return self.renderer.page(
            template,
            self.language,
            status,
            user=self.user,
            navigation=navigation,
            section=section,
            done=self.language.text(done) if self.request.method == "GET" and done in self.language.texts else "",
            **values,
        )

    def may(self, role: Role) -> bool:
        """Return whether the user has a role."""
        return self.user.role.includes(role)

    @property
    def time_zone(self) -> str:
        """The viewer's time zone, as the browser says; empty if it is unknown."""
        return self.cookie(_ZONE_COOKIE)

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

    async def profile_choices(self, all_profiles: str) -> list[tuple[str, str]]:
        """Return the values and labels of a field for one Profile or, unless the user is limited to some, for all.

        ``all_profiles`` is the key of the text for all of them, whose value is empty.
        """
        of_all = [("", self.language.text(all_profiles))] if self.user.profile_ids is None else []
        return [*of_all, *(await self.profile_names()).items()]


def profile_label(profile: Mapping[str, Any]) -> str:
    """Return what people recognise a Profile by: its name, its first number, or its id."""
    return str(profile["name"] or (*profile["numbers"], profile["id"])[0])


class Visits:
    """Makes pages accessible to users who are signed in; others are sent to the page for signing in.

    ``require_same_origin`` raises NotAllowed if a page of another site has sent a form.
    """

    def __init__(
        self,
        find_user: FindUser,
        call: CallRest,
        renderer: Renderer,
        require_same_origin: Callable[[str, Mapping[str, str]], None],
    ) -> None:
        self._find_user = find_user
        self._call = call
        self._renderer = renderer
        self._require_same_origin = require_same_origin

    def signed_in(
        self, show: Callable[[Visit], Awaitable[Response]], role: Role = Role.READ, *, background: bool = False
    ) -> Callable[[Request], Awaitable[Response]]:
        """Return the handler of a page for users with ``role``. What is refused becomes a page with the reason.

        ``background``: a script of the page sends the request by itself, so that it does not prolong the session.
        """

        async def handle(request: Request) -> Response:
            user = await self._find_user(request.address, request.method, request.headers, background=background)
            if user is None:
                return self._without_session(request)
            client = RestClient(self._call, user, request.address, request.headers.get("user-agent", ""))
            visit = Visit(request, user, language_of(request.headers), client, self._renderer)
            if request.method == "POST" and _sender(request) not in (None, str(user.user_id)):
                return self._of_another_user(visit)
            if not visit.may(role):
                return _refusal(visit, role)
            try:
                return await show(visit)
            except RestFailed as failed:
                return _error_page(visit, failed)

        return handle

    def _without_session(self, request: Request) -> Response:
        """Return the page for signing in. Entries of a form are kept on a page that can send them again."""
        if request.method == "GET":
            return redirect(_sign_in_url(request))
        self._require_same_origin(request.method, request.headers)
        entries = _entries(request, MAX_SIZE_WITHOUT_USER)
        if not entries:
            return redirect(_sign_in_url(request))
        text = language_of(request.headers).text
        return self._not_sent(
            request,
            HTTPStatus.FORBIDDEN,
            entries,
            title=text("not_sent"),
            help=text("not_sent_help"),
            send=text("send_entries"),
        )

    def _of_another_user(self, visit: Visit) -> Response:
        """Return a page that asks whether to send a form as the present user: another one was signed in at first."""
        text, name = visit.language.text, visit.user.name
        return self._not_sent(
            visit.request,
            HTTPStatus.CONFLICT,
            _entries(visit.request, len(visit.request.raw_body)),
            title=text("other_user", name=name),
            help=text("other_user_help", name=name),
            send=text("send_entries_as", name=name),
        )

    def _not_sent(
        self, request: Request, status: HTTPStatus, entries: Sequence[tuple[str, str]], **texts: str
    ) -> Response:
        """Return a page that keeps the entries of a form, without secrets and files, and can send them again."""
        kept = [(name, value) for name, value in entries if name not in _SECRETS and "PRIVATE KEY" not in value]
        return self._renderer.page(
            "not_sent.html",
            language_of(request.headers),
            status,
            action=_address(request),
            sign_in_url=f"{SIGN_IN}?next={SIGNED_IN}",
            entries=kept,
            complete=len(kept) == len(entries) and not has_files(request),
            **texts,
        )


def language_of(headers: Mapping[str, str]) -> Language:
    """Return the language that the browser prefers."""
    return LANGUAGES.choose(headers.get("accept-language", ""))


def error_page(renderer: Renderer) -> Callable[[Mapping[str, str], Response], Response]:
    """Return the function that makes a page of a problem document, for requests that reach no page."""

    def render(headers: Mapping[str, str], response: Response) -> Response:
        problem, language = problem_of(response), language_of(headers)
        values = _problem_values(language, problem)
        page = renderer.page("error.html", language, problem.status, back=START, reference=problem.reference, **values)
        return Response(page.status, {**response.headers, **page.headers}, page.body)

    return render


def redirect(url: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return a redirection to a page, after a form was sent or to another place (303)."""
    return Response(303, {"Location": url, **(headers or {})})


def redirect_after(done: str, url: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return a redirection to a page that says what was done: the text ``done_...``."""
    address, hash_, anchor = url.partition("#")
    separator = "&" if "?" in address else "?"
    return redirect(f"{address}{separator}{_DONE}={done}{hash_}{anchor}", headers)


def to_recording(visit: Visit, done: str, anchor: str = "") -> Response:
    """Return a redirection to the page of a Recording after a form of it was sent, with the list that led to it."""
    parameters = urlencode({name: value for name, value in query(visit.request).items() if name != _DONE})
    return redirect_after(done, f"{START}/{visit.request.id}{f'?{parameters}' if parameters else ''}{anchor}")


def _sender(request: Request) -> str | None:
    """Return the id of the user for whom the page with a form was made; None if no script has added it.

    The handler of the form knows its maximum size. Raises BadRequest.
    """
    return form(request, len(request.raw_body)).get(_SENDER)


def _entries(request: Request, limit: int) -> list[tuple[str, str]]:
    """Return what a user has entered in a form. Raises BadRequest or TooLarge."""
    return [(name, value) for name, value in form_entries(request, limit) if name != _SENDER]


def form(request: Request, limit: int = MAX_SIZE) -> dict[str, str]:
    """Return the fields of a form of at most ``limit`` bytes. Raises BadRequest or TooLarge."""
    return dict(form_entries(request, limit))


def query(request: Request) -> dict[str, str]:
    """Return the parameters of the query. Raises BadRequest."""
    try:
        return dict(parse_qsl(request.raw_query.decode(), max_num_fields=_MAX_FIELDS))
    except ValueError as error:
        raise BadRequest("The query is not UTF-8, or has too many parameters.") from error


def _sign_in_url(request: Request) -> str:
    return f"{SIGN_IN}?next={quote(_address(request), safe='/')}"


def _address(request: Request) -> str:
    return request.path + (f"?{request.raw_query.decode('ascii', 'ignore')}" if request.raw_query else "")


def _refusal(visit: Visit, role: Role) -> Response:
    text = visit.language.text
    detail = text("required_role", role=text(f"role_{role}"))
    return visit.page("error.html", status=403, title=text("refused"), detail=detail, errors=(), back=START)


def _error_page(visit: Visit, failed: RestFailed) -> Response:
    problem = failed.problem
    values = _problem_values(visit.language, problem)
    back = _previous_page(visit.request)
    return visit.page("error.html", status=problem.status, back=back, reference=problem.reference, **values)


def _previous_page(request: Request) -> str:
    """Return the page of the console from which the browser has sent a request, as it says; else the first page."""
    try:
        previous = urlsplit(request.headers.get("referer", ""))
    except ValueError:  # not a URL
        return START
    same_host = previous.netloc == request.headers.get("host", "")
    if not same_host or not previous.path.startswith("/console/") or previous.path == request.path:
        return START
    return previous.path + (f"?{previous.query}" if previous.query else "")


def _problem_values(language: Language, problem: Problem) -> dict[str, Any]:
    """Return what the template needs of a problem document."""
    title = language.text(_TITLES.get(problem.status, "failed"))
    errors = [(error.field, field_message(language, error)) for error in problem.errors]
    return {"title": title, "detail": problem_message(language, problem), "errors": errors}
