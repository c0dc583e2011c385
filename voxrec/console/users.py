"""/console/users: the users who sign in with a password, and their sessions; for administrators."""

from collections.abc import Mapping
from typing import Any, Final

from voxrec.console.account import end_session
from voxrec.console.forms import FormState, chosen_profiles, form_lists, profile_options, rejected, role_options
from voxrec.console.rest_client import RestFailed
from voxrec.console.visit import Visit, form, query, redirect_after
from voxrec.model import Role
from voxrec.web.response import Response

USERS: Final = "/console/users"
_PAGE_SIZE: Final = 50
_MAX_SESSIONS: Final = 100  # on the page of a user
_FIELDS: Final = ("name", "role", "profileIds", "password")


async def show_users(visit: Visit) -> Response:
    """Show the list of users."""
    given = query(visit.request)
    page = await visit.rest.page("/users", limit=_PAGE_SIZE, cursor=given.get("cursor"))
    return visit.page(
        "users.html",
        "users",
        users=page.items,
        profiles=await visit.profile_names(),
        next_url=page.next_url(USERS),
    )


async def show_new(visit: Visit) -> Response:
    """Show the form of a new user."""
    return await _new_page(visit, FormState({"role": Role.READ, "profileIds": None}))


async def create(visit: Visit) -> Response:
    """Create a user."""
    fields, lists = form(visit.request), form_lists(visit.request)
    document = {
        "name": fields.get("name", "").strip().lower(),
        "role": fields.get("role", ""),
        "profileIds": chosen_profiles(lists),
        "listenLive": "listenLive" in fields,
        "password": fields.get("password", ""),
    }
    try:
        await visit.rest.send("PUT", "/users", document)
    except RestFailed as failed:
        return await _new_page(visit, rejected(visit, failed, document, _FIELDS), failed.problem.status)
    return redirect_after("user_created", USERS)


async def _new_page(visit: Visit, state: FormState, status: int = 200) -> Response:
    options = await profile_options(visit, state.value("profileIds"))
    return visit.page("user_new.html", "users", status, form=state, profiles=options, roles=role_options(visit))


async def show_user(visit: Visit) -> Response:
    """Show a user: the form of changes, the sessions, and deletion."""
    return await _user_page(visit)


async def _user_page(
    visit: Visit,
    state: FormState | None = None,
    password: FormState | None = None,
    status: int = 200,
    opened_version: str = "",
) -> Response:
    """Return the page; ``state`` and ``password`` are those of its two forms after a refusal.

    ``opened_version`` is that of the user when a refused form was opened: sending it again must not replace changes of
    others that it does not show.
    """
    user, version = await visit.rest.versioned(f"/users/{visit.request.id}")
    sessions = await visit.rest.page("/sessions", userId=user["id"], limit=_MAX_SESSIONS)
    shown = state or FormState(user)
    return visit.page(
        "user.html",
        "users",
        status,
        shown_user=user,
        version=opened_version or version,
        form=shown,
        password=password or FormState(),
        profiles=await profile_options(visit, shown.value("profileIds")),
        roles=role_options(visit),
        sessions=sessions.items,
        is_self=user["id"] == str(visit.user.user_id),
    )


async def change(visit: Visit) -> Response:
    """Change the permissions of a user, and whether the user may sign in."""
    fields = form(visit.request)
    document = {
        "role": fields.get("role", ""),
        "profileIds": chosen_profiles(form_lists(visit.request)),
        "listenLive": "listenLive" in fields,
        "enabled": "enabled" in fields,
    }
    version = fields.get("version", "*")
    try:
        await visit.rest.send("POST", _path(visit), document, **{"if-match": version})
    except RestFailed as failed:
        state = rejected(visit, failed, document, _FIELDS)
        return await _user_page(visit, state=state, status=failed.problem.status, opened_version=version)
    return _changed(visit, "user_saved")


async def set_password(visit: Visit) -> Response:
    """Give a user a new password, which ends the sessions of the user."""
    document: Mapping[str, Any] = {"password": form(visit.request).get("password", "")}
    try:
        await visit.rest.send("POST", _path(visit), document)
    except RestFailed as failed:
        state = rejected(visit, failed, {}, _FIELDS)
        return await _user_page(visit, password=state, status=failed.problem.status)
    return _changed(visit, "password_set")


async def end_sessions(visit: Visit) -> Response:
    """End one session of a user, or all of them."""
    session_id = form(visit.request).get("session")
    user_id = str(visit.request.id)
    for session in (await visit.rest.page("/sessions", userId=user_id, limit=_MAX_SESSIONS)).items:
        if session_id in (None, session["id"]):
            await end_session(visit, session["id"])
    return _changed(visit, "sessions_ended")


async def reset_second_factor(visit: Visit) -> Response:
    """Remove the second factor of a user who has lost it, which ends the sessions of the user."""
    await visit.rest.send("DELETE", f"{_path(visit)}/second-factor")
    return _changed(visit, "user_second_factor_removed")


async def delete(visit: Visit) -> Response:
    """Delete a user."""
    await visit.rest.send("DELETE", _path(visit))
    return redirect_after("user_deleted", USERS)


def _path(visit: Visit) -> str:
    return f"/users/{visit.request.id}"


def _changed(visit: Visit, done: str) -> Response:
    return redirect_after(done, f"{USERS}/{visit.request.id}")
