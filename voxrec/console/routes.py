"""The routes of the console, and the files that pages refer to."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Final, Protocol

import msgspec

from voxrec.console import (
    account,
    audit,
    bulk_actions,
    calls,
    certificates,
    deliveries,
    links,
    notes,
    operations,
    profiles,
    recording,
    recording_list,
    tokens,
    users,
    webhooks,
)
from voxrec.console.form_data import MAX_SIZE_WITHOUT_USER
from voxrec.console.messages import message_for_script
from voxrec.console.rendering import Renderer, asset
from voxrec.console.sign_in import CALLBACK, SignInPages, SingleSignOn
from voxrec.console.unknown_pages import UnknownPages
from voxrec.console.visit import (
    SIGN_IN,
    SIGNED_IN,
    SIGNED_OUT,
    START,
    Visit,
    Visits,
    error_page,
    language_of,
    redirect,
)
from voxrec.errors import NotFound
from voxrec.web.auth import AccessControl, Role
from voxrec.web.dispatcher import Dispatcher
from voxrec.web.errors import BadRequest, TooLarge
from voxrec.web.problems import Problem
from voxrec.web.request import Request
from voxrec.web.response import Response, conditional_get
from voxrec.web.route import Route
from voxrec.web.session_cookie import SessionCookie

_route = partial(Route, role=None, produces=None, query=None, documented=False, audited_by_handler=True)
_ASSET_TYPES: Final = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8"}


class ConsoleRoutes:
    """The web console. Its pages use the REST API with the permissions of the user who is signed in."""

    def __init__(self, visits: Visits, sign_in: SignInPages, now: Callable[[], datetime]) -> None:
        self._visits = visits
        self._sign_in = sign_in
        self._now = now

    def routes(self) -> tuple[Route, ...]:
        """Return the routes. They are not part of the API."""
        routes = self._page_routes()
        unknown = self._visits.signed_in(UnknownPages(routes).show)
        return (
            *routes,
            *(_route(method, "/console/<path:name>", handler=unknown) for method in ("GET", "POST")),
        )

    def _page_routes(self) -> tuple[Route, ...]:
        route = _route
        signed_in = self._visits.signed_in
        return (
            route("GET", "/console", handler=_start),
            *self._sign_in_routes(),
            route("GET", "/console/recordings", handler=signed_in(recording_list.show_recordings)),
            route("POST", "/console/recording-columns", handler=signed_in(recording_list.choose_columns)),
            route("GET", "/console/recordings.csv", handler=signed_in(recording_list.export_csv)),
            route("POST", bulk_actions.BULK_ACTIONS, handler=signed_in(bulk_actions.preview)),
            route("GET", "/console/bulk-actions/<id>", handler=signed_in(bulk_actions.show)),
            route("GET", bulk_actions.PROGRESS, handler=signed_in(bulk_actions.show, background=True)),
            route("POST", "/console/bulk-actions/<id>", handler=signed_in(bulk_actions.change)),
            *self._recording_routes(),
            route("GET", "/console/calls", handler=signed_in(calls.show_calls)),
            route("GET", "/console/calls/table", handler=signed_in(calls.show_table, background=True)),
            route("GET", "/console/calls/<id>/hang-up", handler=signed_in(calls.confirm_hang_up, role=Role.SUPERVISE)),
            route("POST", "/console/calls/<id>/<name>", handler=signed_in(calls.control_call)),
            route("GET", operations.OPERATIONS, handler=signed_in(operations.OperationsPage(self._now).show)),
            route("POST", "/console/operations/jobs/<id>", handler=signed_in(operations.change_job)),
            route("POST", "/console/operations/nodes/<name>", handler=signed_in(operations.change_node)),
            *self._account_routes(),
            *self._administration_routes(),
            *self._profile_routes(),
            *self._certificate_routes(),
            *self._webhook_routes(),
            route("GET", "/console/assets/<name>", handler=_asset),
            route("POST", "/console/problem-text", handler=_problem_text),
        )

    def _recording_routes(self) -> tuple[Route, ...]:
        signed_in, with_form = self._visits.signed_in, recording.with_form
        create_link = partial(links.create_link, self._now)
        path = "/console/recordings/<id>"
        return (
            _route("GET", path, handler=signed_in(recording.show_recording)),
            _route("GET", f"{path}/changes", handler=signed_in(recording.show_recording, background=True)),
            _route("GET", f"{path}/accesses", handler=signed_in(recording.show_accesses)),
            _route("POST", f"{path}/hold", handler=signed_in(recording.change_hold)),
            _route("POST", f"{path}/delete", handler=signed_in(with_form(recording.delete_recording, ("reason",)))),
            _route("POST", f"{path}/deliveries", handler=signed_in(with_form(deliveries.deliver, ("target",)))),
            _route("POST", f"{path}/links", handler=signed_in(with_form(create_link, links.FIELDS, links.RENAMED))),
            _route("POST", f"{path}/links/<linkId>/revoke", handler=signed_in(links.revoke_link)),
            _route("POST", f"{path}/tags", handler=signed_in(with_form(notes.change_tags, ("tags",)))),
            _route("POST", f"{path}/notes", handler=signed_in(with_form(notes.add_note, notes.FIELDS))),
            _route("POST", f"{path}/notes/<noteId>", handler=signed_in(with_form(notes.change_note, notes.FIELDS))),
            _route("POST", f"{path}/notes/<noteId>/delete", handler=signed_in(notes.delete_note)),
        )

    def _sign_in_routes(self) -> tuple[Route, ...]:
        sign_in = self._sign_in
        return (
            _route("GET", SIGN_IN, handler=sign_in.show),
            _route("POST", SIGN_IN, handler=sign_in.enter_password),
            _route("POST", f"{SIGN_IN}/code", handler=sign_in.enter_code),
            _route("GET", f"{SIGN_IN}/provider", handler=sign_in.begin),
            _route("GET", CALLBACK, handler=sign_in.complete),
            _route("POST", "/console/sign-out", handler=self._visits.signed_in(sign_in.sign_out)),
            _route("GET", SIGNED_OUT, handler=sign_in.show_signed_out),
            _route("GET", SIGNED_IN, handler=self._visits.signed_in(_show_signed_in)),
        )

    def _account_routes(self) -> tuple[Route, ...]:
        signed_in, path, clock = self._visits.signed_in, account.ACCOUNT, account.SessionClock(self._now)
        return (
            _route("GET", path, handler=signed_in(account.show_account)),
            _route("POST", path, handler=signed_in(account.change_password)),
            _route("POST", f"{path}/sessions", handler=signed_in(account.end_sessions)),
            _route("POST", f"{path}/second-factor", handler=signed_in(account.begin_second_factor)),
            _route("POST", f"{path}/second-factor/confirm", handler=signed_in(account.confirm_second_factor)),
            _route("POST", f"{path}/second-factor/remove", handler=signed_in(account.remove_second_factor)),
            _route("POST", f"{path}/recovery-codes", handler=signed_in(account.replace_recovery_codes)),
            _route("GET", "/console/session", handler=signed_in(clock.show, background=True)),
            _route("POST", "/console/session", handler=signed_in(clock.show)),
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

    def _certificate_routes(self) -> tuple[Route, ...]:
        signed_in, pages = self._visits.signed_in, certificates.CertificatePages(self._now)
        changing = partial(signed_in, role=Role.PROVISION)
        path = certificates.CERTIFICATES
        return (
            _route("GET", path, handler=signed_in(pages.show_certificates)),
            _route("GET", f"{path}/new", handler=changing(certificates.show_new)),
            _route("POST", f"{path}/new", handler=changing(certificates.create)),
            _route("GET", f"{path}/<id>", handler=signed_in(pages.show_certificate)),
            _route("POST", f"{path}/<id>", handler=changing(pages.replace)),
            _route("POST", f"{path}/<id>/delete", handler=changing(pages.delete)),
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
            _route("POST", "/console/users/<id>/second-factor", handler=administrator(users.reset_second_factor)),
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


class _SignInPolicy(Protocol):
    """See `voxrec.api.auth.password_sign_in.SignInPolicy`."""

    @property
    def passwords(self) -> str:
        """Which users may sign in with a password: ``all``, ``admin`` or ``none``."""


def console_routes(
    access_control: AccessControl,
    dispatcher: Dispatcher,
    cookie: SessionCookie,
    now: Callable[[], datetime],
    policy: _SignInPolicy,
    provider: SingleSignOn | None,
) -> tuple[Route, ...]:
    """Return the routes of a console for the REST API that ``dispatcher`` serves."""
    renderer = Renderer()
    visits = Visits(access_control.user_of_session, dispatcher.call, renderer, cookie.require_same_origin)
    sign_in = SignInPages(dispatcher.call, cookie, renderer, provider, policy.passwords)
    with_error_page = error_page(renderer)
    return tuple(replace(route, error_page=with_error_page) for route in ConsoleRoutes(visits, sign_in, now).routes())


async def _start(_request: Request) -> Response:
    return redirect(START)


async def _show_signed_in(visit: Visit) -> Response:
    """Say that the user is signed in, in a tab that was opened because another one keeps the entries of a form."""
    return visit.page("signed_in.html")


async def _problem_text(request: Request) -> Response:
    """Return what a script says about a problem document that it has received from the REST API."""
    if len(request.raw_body) > MAX_SIZE_WITHOUT_USER:
        raise TooLarge(f"The document must have at most {MAX_SIZE_WITHOUT_USER} bytes.")
    try:
        problem = msgspec.json.decode(request.raw_body, type=Problem)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadRequest("The body is not a problem document.") from error
    text = message_for_script(language_of(request.headers), problem)
    return Response(200, {"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store"}, text.encode())


async def _asset(request: Request) -> Response:
    content = asset(request.name)
    media_type = _ASSET_TYPES.get(request.name.rpartition(".")[2])
    if content is None or media_type is None:
        raise NotFound(f"There is no file {request.name!r}.")
    return conditional_get(request.conditions, content, media_type, {"Cache-Control": "no-cache"})
