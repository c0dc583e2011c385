"""The routes of the console, the page for signing in, and the files that pages refer to."""

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Final

from voxrec.console import account, audit, calls, notes, operations, profiles, recordings, tokens, users, webhooks
from voxrec.console.rendering import Renderer, asset
from voxrec.console.rest_client import CallRest, RestClient, RestFailed
from voxrec.console.visit import START, FindUser, Visit, Visits, form, language_of, query, redirect
from voxrec.errors import NotFound
from voxrec.web.auth import AccessControl, Role
from voxrec.web.conditions import etag_of
from voxrec.web.dispatcher import ANONYMOUS, Dispatcher
from voxrec.web.request import Request
from voxrec.web.response import Response
from voxrec.web.route import Route
from voxrec.web.session_cookie import SessionCookie

_route = partial(Route, role=None, produces=None, query=None, documented=False, audited_by_handler=True)
_ASSET_TYPES: Final = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8"}


class ConsoleRoutes:
    """The web console. Its pages use the REST API with the permissions of the user who is signed in."""

    def __init__(self, find_user: FindUser, call: CallRest, cookie: SessionCookie, now: Callable[[], datetime]) -> None:
        self._call = call
        self._cookie = cookie
        self._now = now
        self._renderer = Renderer()
        self._visits = Visits(find_user, call, self._renderer)

    def routes(self) -> tuple[Route, ...]:
        """Return the routes. They are not part of the API."""
        route = _route
        signed_in = self._visits.signed_in
        return (
            route("GET", "/console", handler=_start),
            route("GET", "/console/sign-in", handler=self._show_sign_in),
            route("POST", "/console/sign-in", handler=self._sign_in),
            route("POST", "/console/sign-out", handler=signed_in(_sign_out)),
            route("GET", "/console/recordings", handler=signed_in(recordings.show_recordings)),
            route("GET", "/console/recordings/<id>", handler=signed_in(recordings.show_recording)),
            route("POST", "/console/recordings/<id>/hold", handler=signed_in(recordings.change_hold)),
            route("POST", "/console/recordings/<id>/delete", handler=signed_in(recordings.delete_recording)),
            route("POST", "/console/recordings/<id>/tags", handler=signed_in(notes.change_tags)),
            route("POST", "/console/recordings/<id>/notes", handler=signed_in(notes.add_note)),
            route("POST", "/console/recordings/<id>/notes/<noteId>", handler=signed_in(notes.change_note)),
            route("POST", "/console/recordings/<id>/notes/<noteId>/delete", handler=signed_in(notes.delete_note)),
            route("GET", "/console/calls", handler=signed_in(calls.show_calls)),
            route("GET", "/console/calls/table", handler=signed_in(calls.show_table)),
            route("POST", "/console/calls/<id>/<name>", handler=signed_in(calls.control_call)),
            route("GET", operations.OPERATIONS, handler=signed_in(operations.OperationsPage(self._now).show)),
            route("POST", "/console/operations/jobs/<id>", handler=signed_in(operations.change_job)),
            route("POST", "/console/operations/nodes/<name>", handler=signed_in(operations.change_node)),
            route("GET", account.ACCOUNT, handler=signed_in(account.show_account)),
            route("POST", account.ACCOUNT, handler=signed_in(account.change_password)),
            *self._administration_routes(),
            *self._profile_routes(),
            *self._webhook_routes(),
            route("GET", "/console/assets/<name>", handler=_asset),
        )

    def _profile_routes(self) -> tuple[Route, ...]:
        signed_in = self._visits.signed_in
        changing = partial(signed_in, role=Role.PROVISION)
        path = "/console/profiles"
        return (
            _route("GET", path, handler=signed_in(profiles.show_profiles)),
            _route("GET", f"{path}/new", handler=changing(profiles.show_new_profile)),
            _route("POST", f"{path}/new", handler=changing(profiles.create_profile)),
            _route("GET", f"{path}/<id>", handler=signed_in(profiles.show_profile)),
            _route("GET", f"{path}/<id>/edit", handler=changing(profiles.show_edited_profile)),
            _route("POST", f"{path}/<id>/edit", handler=changing(profiles.save_profile)),
            _route("POST", f"{path}/<id>/delete", handler=changing(profiles.delete_profile)),
            _route("POST", f"{path}/<id>/test", handler=changing(profiles.test_profile)),
        )

    def _administration_routes(self) -> tuple[Route, ...]:
        administrator = partial(self._visits.signed_in, role=Role.ADMIN)
        return (
            _route("GET", users.USERS, handler=administrator(users.show_users)),
            _route("GET", "/console/users/new", handler=administrator(users.show_new)),
            _route("POST", "/console/users/new", handler=administrator(users.create)),
            _route("GET", "/console/users/<id>", handler=administrator(users.show_user)),
            _route("POST", "/console/users/<id>", handler=administrator(users.change)),
            _route("POST", "/console/users/<id>/password", handler=administrator(users.set_password)),
            _route("POST", "/console/users/<id>/sessions", handler=administrator(users.end_sessions)),
            _route("POST", "/console/users/<id>/delete", handler=administrator(users.delete)),
            _route("GET", tokens.TOKENS, handler=administrator(tokens.show_tokens)),
            _route("GET", "/console/tokens/new", handler=administrator(tokens.show_new)),
            _route("POST", "/console/tokens/new", handler=administrator(tokens.create)),
            _route("POST", "/console/tokens/<id>/revoke", handler=administrator(tokens.revoke)),
            _route("GET", audit.AUDIT, handler=administrator(audit.show_audit)),
        )

    def _webhook_routes(self) -> tuple[Route, ...]:
        provisioner = partial(self._visits.signed_in, role=Role.PROVISION)
        path = webhooks.WEBHOOKS
        return (
            _route("GET", path, handler=provisioner(webhooks.show_webhooks)),
            _route("GET", f"{path}/new", handler=provisioner(webhooks.show_new)),
            _route("POST", f"{path}/new", handler=provisioner(webhooks.create)),
            _route("GET", f"{path}/<id>", handler=provisioner(webhooks.show_webhook)),
            _route("POST", f"{path}/<id>", handler=provisioner(webhooks.change)),
            _route("POST", f"{path}/<id>/test", handler=provisioner(webhooks.test)),
            _route("POST", f"{path}/<id>/secret", handler=provisioner(webhooks.show_secret)),
            _route("POST", f"{path}/<id>/delete", handler=provisioner(webhooks.delete)),
        )

    async def _show_sign_in(self, request: Request) -> Response:
        return self._sign_in_page(request, query(request).get("next", ""))

    async def _sign_in(self, request: Request) -> Response:
        self._cookie.require_same_origin(request.method, request.headers)
        fields = form(request)
        name, next_ = fields.get("name", ""), fields.get("next", "")
        client = RestClient(self._call, ANONYMOUS, request.address, request.headers.get("user-agent", ""))
        text = language_of(request).text
        try:
            response = await client.send("PUT", "/session", {"name": name, "password": fields.get("password", "")})
        except RestFailed as failed:
            if failed.problem.status == 429:
                error = text("throttled", seconds=failed.headers.get("Retry-After", "60"))
            elif failed.problem.status >= 500:
                error = failed.problem.detail
            else:
                error = text("wrong_password")
            return self._sign_in_page(request, next_, name, error, failed.problem.status)
        return redirect(_own_page(next_), {"Set-Cookie": response.headers["Set-Cookie"]})

    def _sign_in_page(
        self, request: Request, next_: str, name: str = "", error: str = "", status: int = 200
    ) -> Response:
        language = language_of(request)
        return self._renderer.page("sign_in.html", language, status, name=name, next=_own_page(next_), error=error)


def console_routes(
    access_control: AccessControl, dispatcher: Dispatcher, cookie: SessionCookie, now: Callable[[], datetime]
) -> tuple[Route, ...]:
    """Return the routes of a console for the REST API that ``dispatcher`` serves."""
    return ConsoleRoutes(access_control.user_of_session, dispatcher.call, cookie, now).routes()


def _own_page(target: str) -> str:
    """Return a page of the console to continue with: a user must not be sent to another site after signing in."""
    is_own = target.startswith("/console/") and "\\" not in target and target.isprintable()
    return target if is_own else START


async def _start(_request: Request) -> Response:
    return redirect(START)


async def _sign_out(visit: Visit) -> Response:
    response = await visit.rest.send("DELETE", "/session", cookie=visit.request.headers.get("cookie", ""))
    return redirect("/console/sign-in", {"Set-Cookie": response.headers["Set-Cookie"]})


async def _asset(request: Request) -> Response:
    content = asset(request.name)
    media_type = _ASSET_TYPES.get(request.name.rpartition(".")[2])
    if content is None or media_type is None:
        raise NotFound(f"There is no file {request.name!r}.")
    etag = etag_of(content)
    headers = {"ETag": etag, "Cache-Control": "no-cache"}
    if request.conditions.unchanged(etag):
        return Response(304, headers)
    return Response(200, {**headers, "Content-Type": media_type}, content)
