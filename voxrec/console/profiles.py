"""/console/profiles: the list of Profiles, the page of one, its form and its test."""

from collections.abc import Callable, Mapping
from functools import partial
from http import HTTPStatus
from typing import Any, Final

from voxrec.console.messages import field_message, problem_message
from voxrec.console.profile_form import DEFAULTS, FIELDS, GROUPS, changes, display, entered_texts, texts_of
from voxrec.console.rest_client import RestFailed
from voxrec.console.visit import Visit, form, profile_label, query, redirect_after
from voxrec.web.auth import Role
from voxrec.web.problems import InvalidField
from voxrec.web.response import Response

PROFILES: Final = "/console/profiles"
_PAGE_SIZE: Final = 50
_MAX_PROMPTS: Final = 1000
_INVALID: Final = frozenset({HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY})
_UNKNOWN_VERSION: Final = '"unknown"'


async def show_profiles(visit: Visit) -> Response:
    """Show the newest Profiles that match the search in the query."""
    given = query(visit.request)
    search = given.get("search", "").strip()
    page = await visit.rest.page("/profiles", limit=_PAGE_SIZE, cursor=given.get("cursor"), search=search)
    return visit.page(
        "profiles.html",
        "profiles",
        profiles=page.items,
        search=search,
        label=profile_label,
        may_create=visit.may(Role.PROVISION) and visit.user.profile_ids is None,
        next_url=page.next_url(PROFILES, {"search": search}),
    )


async def show_profile(visit: Visit) -> Response:
    """Show one Profile with the settings that apply to its next call."""
    return await _profile_page(visit)


async def test_profile(visit: Visit) -> Response:
    """Test a Profile, and show the result on its page."""
    try:
        result = await visit.rest.result("POST", f"/profiles/{visit.request.id}/test")
    except RestFailed as failed:
        if failed.problem.status != HTTPStatus.TOO_MANY_REQUESTS:
            raise
        return await _profile_page(
            visit, status=HTTPStatus.TOO_MANY_REQUESTS, warning=problem_message(visit.language, failed.problem)
        )
    return await _profile_page(visit, result=result)


async def _profile_page(
    visit: Visit, *, status: int = HTTPStatus.OK, warning: str = "", result: Mapping[str, Any] | None = None
) -> Response:
    path = f"/profiles/{visit.request.id}"
    profile, version = await visit.rest.versioned(path)
    settings = {each["name"]: each for each in (await visit.rest.get(f"{path}/effective"))["settings"]}
    groups = {group: [settings.pop(name) for name in names if name in settings] for group, names in GROUPS.items()}
    return visit.page(
        "profile.html",
        "profiles",
        status=status,
        warning=warning,
        profile=profile,
        version=version,
        title=profile_label(profile),
        groups={**groups, "installation": [*settings.values()]},
        display=_display(visit),
        recipients=await visit.rest.get(f"{path}/recipients"),
        result=result,
        may_change=visit.may(Role.PROVISION),
    )


async def show_new_profile(visit: Visit) -> Response:
    """Show the form for a new Profile, which users who are limited to some Profiles cannot create."""
    if visit.user.profile_ids is not None:
        text = visit.language.text
        values = {"title": text("refused"), "detail": text("limited_to_profiles"), "errors": (), "back": PROFILES}
        return visit.page("error.html", "profiles", status=HTTPStatus.FORBIDDEN, **values)
    return await _form_page(visit, texts_of(DEFAULTS))


async def create_profile(visit: Visit) -> Response:
    """Create a Profile from the form."""
    entered = entered_texts(form(visit.request))
    try:
        created = await visit.rest.result("PUT", "/profiles", changes(entered, DEFAULTS))
    except RestFailed as failed:
        return await _invalid_form(visit, {**texts_of(DEFAULTS), **entered}, failed)
    return redirect_after("profile_created", f"{PROFILES}/{created['id']}")


async def show_edited_profile(visit: Visit) -> Response:
    """Show the form with the settings of a Profile."""
    profile, version = await visit.rest.versioned(f"/profiles/{visit.request.id}")
    return await _form_page(visit, texts_of(profile), profile=profile, version=version)


async def save_profile(visit: Visit) -> Response:
    """Change a Profile as the form says, unless another user has changed it since the form was opened."""
    fields = form(visit.request)
    version = fields.get("version") or _UNKNOWN_VERSION
    path = f"/profiles/{visit.request.id}"
    try:
        profile = await visit.rest.get(path)
    except RestFailed as failed:
        return await _form_of_deleted(visit, entered_texts(fields), failed)
    entered = {**texts_of(profile), **entered_texts(fields)}
    try:
        await visit.rest.send("POST", path, changes(entered, profile), **{"if-match": version})
    except RestFailed as failed:
        if failed.problem.status == HTTPStatus.PRECONDITION_FAILED:
            return await _conflicting_form(visit, entered)
        return await _invalid_form(visit, entered, failed, profile=profile, version=version)
    return redirect_after("profile_saved", f"{PROFILES}/{visit.request.id}")


async def delete_profile(visit: Visit) -> Response:
    """Delete a Profile, unless another user has changed it since the page was opened."""
    version = form(visit.request).get("version") or _UNKNOWN_VERSION
    try:
        await visit.rest.send("DELETE", f"/profiles/{visit.request.id}", None, **{"if-match": version})
    except RestFailed as failed:
        if failed.problem.status != HTTPStatus.PRECONDITION_FAILED:
            raise
        warning = visit.language.text("not_deleted")
        return await _profile_page(visit, status=HTTPStatus.PRECONDITION_FAILED, warning=warning)
    return redirect_after("profile_deleted", PROFILES)


async def _form_of_deleted(visit: Visit, entered: Mapping[str, str], failed: RestFailed) -> Response:
    """Show what was entered for a Profile that another user has deleted meanwhile in the form for a new one."""
    if failed.problem.status != HTTPStatus.NOT_FOUND or visit.user.profile_ids is not None:
        raise failed
    return await _form_page(visit, {**texts_of(DEFAULTS), **entered}, status=HTTPStatus.NOT_FOUND, is_deleted=True)


async def _conflicting_form(visit: Visit, entered: Mapping[str, str]) -> Response:
    """Show the form again with what was entered, and how the Profile that is stored now differs.

    Saving this form replaces the version that it shows.
    """
    profile, version = await visit.rest.versioned(f"/profiles/{visit.request.id}")
    differing = {name: profile[name] for name, text in texts_of(profile).items() if text != entered[name]}
    status = HTTPStatus.PRECONDITION_FAILED
    return await _form_page(visit, entered, status=status, profile=profile, version=version, stored=differing)


async def _invalid_form(
    visit: Visit,
    entered: Mapping[str, str],
    failed: RestFailed,
    *,
    profile: Mapping[str, Any] | None = None,
    version: str = "",
) -> Response:
    """Show the form again with what was entered, and what is wrong with it."""
    problem = failed.problem
    if problem.status not in _INVALID:
        raise failed
    errors = _errors_by_field(visit, entered, problem.errors)
    status = HTTPStatus(problem.status)
    return await _form_page(
        visit,
        entered,
        status=status,
        profile=profile,
        version=version,
        errors=errors,
        detail=problem_message(visit.language, problem),
    )


def _errors_by_field(
    visit: Visit, entered: Mapping[str, str], errors: tuple[InvalidField, ...]
) -> dict[str, list[str]]:
    """Return the messages by the field of the form that they concern; those of no field are below an empty name."""
    messages: dict[str, list[str]] = {}
    for error in errors:
        name = error.field.partition(".")[0].partition("[")[0]
        field = FIELDS.get(name)
        if field is None:
            messages.setdefault("", []).append(f"{error.field}: {field_message(visit.language, error)}")
        elif field.control == "json" and isinstance(field.to_value(entered[name]), str):
            messages[name] = [visit.language.text("not_json")]
        else:
            messages.setdefault(name, []).append(field_message(visit.language, error))
    return messages


async def _form_page(
    visit: Visit,
    entered: Mapping[str, str],
    *,
    status: int = HTTPStatus.OK,
    profile: Mapping[str, Any] | None = None,
    version: str = "",
    errors: Mapping[str, list[str]] | None = None,
    detail: str = "",
    stored: Mapping[str, Any] | None = None,
    is_deleted: bool = False,
) -> Response:
    return visit.page(
        "profile_form.html",
        "profiles",
        status=status,
        groups=GROUPS,
        fields=FIELDS,
        entered=entered,
        profile=profile,
        title=visit.language.text("new_profile") if profile is None else profile_label(profile),
        version=version,
        errors=errors or {},
        detail=detail,
        stored=stored,
        is_deleted=is_deleted,
        options=await _options(visit, entered),
        display=_display(visit),
        recipients=[] if profile is None else await visit.rest.get(f"/profiles/{profile['id']}/recipients"),
        may_change=True,
        may_add_prompts=visit.user.profile_ids is None,
    )


async def _options(visit: Visit, entered: Mapping[str, str]) -> dict[str, list[tuple[str, str]]]:
    """Return the values and labels that a field offers, by the name of the field."""
    display_in_words = _display(visit)
    options = {
        field.name: [(value, display_in_words(field.name, value)) for value in field.options]
        for field in FIELDS.values()
        if field.control == "select"
    }
    has_all_profiles = visit.user.profile_ids is None  # only such users may list Prompts
    prompts = (await visit.rest.page("/prompts", limit=_MAX_PROMPTS)).items if has_all_profiles else []
    options["recordPromptCustomId"] = [
        ("", visit.language.text("none")),
        *((prompt["id"], prompt["name"] or prompt["id"]) for prompt in prompts),
    ]
    for name, choices in options.items():  # a value that is no longer offered must not change without notice
        if entered[name] not in dict(choices):
            choices.append((entered[name], entered[name]))
    return options


def _display(visit: Visit) -> Callable[[str, Any], str]:
    return partial(display, visit.language)
