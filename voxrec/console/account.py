"""/console/account: the user who is signed in, and the own password."""

from typing import Any, Final

from voxrec.console.forms import FormState, rejected
from voxrec.console.rest_client import RestFailed
from voxrec.console.visit import SIGN_IN, Visit, form, query, redirect
from voxrec.web.response import Response

ACCOUNT: Final = "/console/account"
_FIELDS: Final = ("currentPassword", "newPassword")
_REPEATED: Final = "repeated"


async def show_account(visit: Visit) -> Response:
    """Show who is signed in, and the form for another password."""
    return await _page(visit, FormState())


async def _page(visit: Visit, state: FormState, status: int = 200) -> Response:
    return visit.page(
        "account.html",
        "account",
        status,
        identity=await visit.rest.get("/session"),
        profiles=await visit.profile_names(),
        form=state,
        changed="changed" in query(visit.request),
    )


async def change_password(visit: Visit) -> Response:
    """Change the own password. That ends all sessions of the user, so that a new one follows for this browser."""
    fields = form(visit.request)
    document = {name: fields.get(name, "") for name in _FIELDS}
    if document["newPassword"] != fields.get(_REPEATED, ""):
        state = FormState(errors={_REPEATED: [visit.language.text("passwords_differ")]})
        return await _page(visit, state, 422)
    try:
        await visit.rest.send("POST", "/session/password", document)
    except RestFailed as failed:
        return await _page(visit, rejected(visit, failed, {}, _FIELDS), failed.problem.status)
    return await _sign_in(visit, document["newPassword"])


async def _sign_in(visit: Visit, password: str) -> Response:
    credentials: dict[str, Any] = {"name": visit.user.name, "password": password}
    try:
        response = await visit.rest.send("PUT", "/session", credentials)
    except RestFailed:  # such as too many attempts meanwhile: the password is changed nevertheless
        return redirect(SIGN_IN)
    return redirect(f"{ACCOUNT}?changed=1", {"Set-Cookie": response.headers["Set-Cookie"]})
