"""/console/account: the user who is signed in, the own password, second factor and sessions."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Final

import msgspec

from voxrec.console.forms import FormState, rejected
from voxrec.console.qr_code import qr_code
from voxrec.console.rest_client import RestFailed, document
from voxrec.console.visit import Visit, form, redirect_after
from voxrec.web.response import JSON, Response

ACCOUNT: Final = "/console/account"
_FIELDS: Final = ("currentPassword", "newPassword")
_REPEATED: Final = "repeated"
_SECOND_FACTOR: Final = "/session/second-factor"
_MAX_SESSIONS: Final = 100
_CONFLICT: Final = 409


async def show_account(visit: Visit) -> Response:
    """Show who is signed in, and the forms for another password, a second factor and the own sessions."""
    return await _page(visit)


async def _page(
    visit: Visit, password: FormState | None = None, second_factor: FormState | None = None, status: int = 200
) -> Response:
    """Return the page; ``password`` and ``second_factor`` are the states of its forms after a refusal."""
    return visit.page(
        "account.html",
        "account",
        status,
        identity=await visit.rest.get("/session"),
        profiles=await visit.profile_names(),
        form=password or FormState(),
        second_factor=await _second_factor(visit),
        second_factor_form=second_factor or FormState(),
        sessions=(await visit.rest.page("/sessions", userId=visit.user.user_id, limit=_MAX_SESSIONS)).items,
    )


async def _second_factor(visit: Visit) -> Any:
    """Return the second factor; None for a user who signs in at a provider and has no password."""
    try:
        return await visit.rest.get(_SECOND_FACTOR)
    except RestFailed as failed:
        if failed.problem.status == _CONFLICT:
            return None
        raise


async def change_password(visit: Visit) -> Response:
    """Change the own password. That ends all sessions of the user, so that a new one follows for this browser."""
    fields = form(visit.request)
    change = {name: fields.get(name, "") for name in _FIELDS}
    if change["newPassword"] != fields.get(_REPEATED, ""):
        state = FormState(errors={_REPEATED: [visit.language.text("passwords_differ")]})
        return await _page(visit, password=state, status=422)
    try:
        response = await visit.rest.send("POST", "/session/password", change)
    except RestFailed as failed:
        return await _page(visit, password=rejected(visit, failed, {}, _FIELDS), status=failed.problem.status)
    return redirect_after("password_changed", ACCOUNT, {"Set-Cookie": response.headers["Set-Cookie"]})


def with_password(
    method: str, path: str, then: Callable[[Visit, Response], Awaitable[Response]]
) -> Callable[[Visit], Awaitable[Response]]:
    """Return the handler of a form with the current password: it sends a request, and continues with its response."""

    async def handle(visit: Visit) -> Response:
        confirmation = {"currentPassword": form(visit.request).get("currentPassword", "")}
        try:
            response = await visit.rest.send(method, path, confirmation)
        except RestFailed as failed:
            state = rejected(visit, failed, {}, _FIELDS)
            return await _page(visit, second_factor=state, status=failed.problem.status)
        return await then(visit, response)

    return handle


async def _show_enrolment(visit: Visit, response: Response) -> Response:
    challenge = document(response)
    return _enrolment_page(visit, challenge["ticket"], challenge["enrolment"]["uri"])


def _enrolment_page(visit: Visit, ticket: str, uri: str, error: str = "", status: int = 200) -> Response:
    return visit.page("second_factor.html", "account", status, ticket=ticket, enrolment=qr_code(uri), error=error)


async def confirm_second_factor(visit: Visit) -> Response:
    """Store the second factor with its first code, and show the recovery codes."""
    fields = form(visit.request)
    entry = {"ticket": fields.get("ticket", ""), "code": fields.get("code", "")}
    try:
        codes = (await visit.rest.result("POST", _SECOND_FACTOR, entry))["recoveryCodes"]
    except RestFailed as failed:
        if failed.problem.status == _CONFLICT:
            raise
        error = visit.language.text("wrong_code")
        return _enrolment_page(visit, entry["ticket"], fields.get("uri", ""), error, failed.problem.status)
    return visit.page("recovery_codes.html", "account", codes=codes, next=ACCOUNT)


async def _show_codes(visit: Visit, response: Response) -> Response:
    return visit.page("recovery_codes.html", "account", codes=document(response)["recoveryCodes"], next=ACCOUNT)


async def _show_removed(_visit: Visit, _response: Response) -> Response:
    return redirect_after("second_factor_removed", ACCOUNT)


begin_second_factor: Final = with_password("PUT", _SECOND_FACTOR, _show_enrolment)
remove_second_factor: Final = with_password("POST", f"{_SECOND_FACTOR}/remove", _show_removed)
replace_recovery_codes: Final = with_password("POST", "/session/recovery-codes", _show_codes)


async def end_sessions(visit: Visit) -> Response:
    """End one of the own sessions, or all but this one."""
    session_id, own = form(visit.request).get("session"), str(visit.user.session_id)
    sessions = (await visit.rest.page("/sessions", userId=visit.user.user_id, limit=_MAX_SESSIONS)).items
    for session in sessions:
        if session["id"] == session_id or (session_id is None and session["id"] != own):
            await end_session(visit, session["id"])
    return redirect_after("sessions_ended", ACCOUNT)


async def end_session(visit: Visit, session_id: str) -> None:
    """End a session, unless it has ended meanwhile."""
    try:
        await visit.rest.send("DELETE", f"/sessions/{session_id}")
    except RestFailed as failed:
        if failed.problem.status != 404:
            raise


class SessionClock:
    """/console/session: how long the session lasts, for the script that tells users before it ends."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now

    async def show(self, visit: Visit) -> Response:
        """Return the seconds until the session ends, and whose it is.

        ``idle`` tells whether use of the session prolongs that time.
        """
        idle_ends_at, expires_at = visit.user.idle_ends_at, visit.user.expires_at
        if idle_ends_at is None or expires_at is None:
            raise TypeError("the principal of a session has both times")
        remaining = {
            "seconds": max(0.0, (idle_ends_at - self._now()).total_seconds()),
            "idle": idle_ends_at < expires_at,
            "user": visit.user.user_id,
            "name": visit.user.name,
        }
        return Response(200, {"Content-Type": JSON, "Cache-Control": "no-store"}, msgspec.json.encode(remaining))
