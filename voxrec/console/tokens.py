"""/console/tokens: the access tokens of programs, for administrators."""

from typing import Any, Final

from voxrec.console.days import start_of_day, zone_of
from voxrec.console.forms import FormState, chosen_profiles, form_lists, profile_options, rejected, role_options
from voxrec.console.rest_client import RestFailed
from voxrec.console.visit import Visit, form, query, redirect_after
from voxrec.model import Role
from voxrec.web.response import Response

TOKENS: Final = "/console/tokens"
_PAGE_SIZE: Final = 50
_FIELDS: Final = ("name", "role", "profileIds", "expiresAt")


async def show_tokens(visit: Visit) -> Response:
    """Show the list of tokens."""
    page = await visit.rest.page("/tokens", limit=_PAGE_SIZE, cursor=query(visit.request).get("cursor"))
    return visit.page(
        "tokens.html",
        "tokens",
        tokens=page.items,
        profiles=await visit.profile_names(),
        next_url=page.next_url(TOKENS),
    )


async def show_new(visit: Visit) -> Response:
    """Show the form of a new token."""
    return await _new_page(visit, FormState({"role": Role.READ, "profileIds": None}))


async def create(visit: Visit) -> Response:
    """Create a token, and show its secret, which cannot be shown later."""
    fields = form(visit.request)
    last_day = fields.get("expiresAt", "").strip()
    entered: dict[str, Any] = {
        "name": fields.get("name", "").strip(),
        "role": fields.get("role", ""),
        "profileIds": chosen_profiles(form_lists(visit.request)),
        "listenLive": "listenLive" in fields,
    }
    expires_at = start_of_day(last_day, zone_of(fields), days=1) or None
    try:
        token = await visit.rest.result("PUT", "/tokens", {**entered, "expiresAt": expires_at})
    except RestFailed as failed:
        state = rejected(visit, failed, {**entered, "expiresAt": last_day}, _FIELDS)
        return await _new_page(visit, state, failed.problem.status)
    return visit.page("token_created.html", "tokens", 201, token=token)


async def _new_page(visit: Visit, state: FormState, status: int = 200) -> Response:
    options = await profile_options(visit, state.value("profileIds"))
    return visit.page("token_new.html", "tokens", status, form=state, profiles=options, roles=role_options(visit))


async def revoke(visit: Visit) -> Response:
    """Revoke a token."""
    await visit.rest.send("DELETE", f"/tokens/{visit.request.id}")
    return redirect_after("token_revoked", TOKENS)
