"""/console/webhooks: endpoints that receive events, their test and their secret; for provisioners."""

from typing import Any, Final

from voxrec.console.forms import FormState, form_lists, rejected
from voxrec.console.rest_client import RestFailed
from voxrec.console.visit import Visit, form, query, redirect_after
from voxrec.model import WebhookEvent
from voxrec.web.response import Response

WEBHOOKS: Final = "/console/webhooks"
_PAGE_SIZE: Final = 50
_ATTEMPTS: Final = 20  # on the page of a webhook
_FIELDS: Final = ("url", "description", "profileId", "events")


async def show_webhooks(visit: Visit) -> Response:
    """Show the list of webhooks."""
    page = await visit.rest.page("/webhooks", limit=_PAGE_SIZE, cursor=query(visit.request).get("cursor"))
    return visit.page(
        "webhooks.html",
        "webhooks",
        webhooks=page.items,
        profiles=await visit.profile_names(),
        next_url=page.next_url(WEBHOOKS),
    )


async def show_new(visit: Visit) -> Response:
    """Show the form of a new webhook."""
    return await _new_page(visit, FormState())


async def create(visit: Visit) -> Response:
    """Create a webhook."""
    document = {**_entered(visit), "profileId": form(visit.request).get("profileId") or None}
    try:
        created = await visit.rest.result("PUT", "/webhooks", document)
    except RestFailed as failed:
        return await _new_page(visit, rejected(visit, failed, document, _FIELDS), failed.problem.status)
    return redirect_after("webhook_created", f"{WEBHOOKS}/{created['id']}")


async def _new_page(visit: Visit, state: FormState, status: int = 200) -> Response:
    return visit.page(
        "webhook_new.html",
        "webhooks",
        status,
        form=state,
        profiles=await visit.profile_choices("events_of_all"),
        events=[*WebhookEvent],
    )


def _entered(visit: Visit) -> dict[str, Any]:
    fields = form(visit.request)
    return {
        "url": fields.get("url", "").strip(),
        "description": fields.get("description", "").strip() or None,
        "events": form_lists(visit.request).get("events", []),
    }


async def show_webhook(visit: Visit) -> Response:
    """Show a webhook: the form of changes, the test, the secret and the latest attempts."""
    return await _page(visit)


async def _page(visit: Visit, status: int = 200, **values: Any) -> Response:
    """Return the page. ``values`` are ``test`` with a result, ``secret`` to show it, or what a refused form shows.

    The latter are ``form`` and the ``version`` of the webhook when the form was opened: sending it again must not
    replace changes of others that it does not show.
    """
    webhook, version = await visit.rest.versioned(_path(visit))
    shown = {
        "form": FormState(webhook),
        "version": version,
        "test": None,
        "secret": None,
        **values,
    }
    return visit.page(
        "webhook.html",
        "webhooks",
        status,
        webhook=webhook,
        profiles=await visit.profile_names(),
        events=[*WebhookEvent],
        attempts=(await visit.rest.page(f"{_path(visit)}/attempts", limit=_ATTEMPTS)).items,
        **shown,
    )


async def change(visit: Visit) -> Response:
    """Change a webhook. Enabling it sends what is pending."""
    fields = form(visit.request)
    document = {**_entered(visit), "enabled": "enabled" in fields}
    version = fields.get("version", "*")
    try:
        await visit.rest.send("POST", _path(visit), document, **{"if-match": version})
    except RestFailed as failed:
        state = rejected(visit, failed, document, _FIELDS)
        return await _page(visit, failed.problem.status, form=state, version=version)
    return redirect_after("webhook_saved", f"{WEBHOOKS}/{visit.request.id}")


async def test(visit: Visit) -> Response:
    """Send a test message, and show how the receiver answered."""
    return await _page(visit, test=await visit.rest.result("POST", f"{_path(visit)}/test"))


async def show_secret(visit: Visit) -> Response:
    """Show the secret with which a receiver checks the signatures."""
    return await _page(visit, secret=await visit.rest.get(f"{_path(visit)}/secret"))


async def delete(visit: Visit) -> Response:
    """Delete a webhook."""
    await visit.rest.send("DELETE", _path(visit))
    return redirect_after("webhook_deleted", WEBHOOKS)


def _path(visit: Visit) -> str:
    return f"/webhooks/{visit.request.id}"
