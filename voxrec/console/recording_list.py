"""/console/recordings: the list of Recordings with filters, its columns, and its export as CSV."""

from collections.abc import AsyncGenerator
from typing import Any, Final

import msgspec

from voxrec.console.forms import FormState, form_lists, rejected
from voxrec.console.recording_query import (
    COLUMNS,
    COLUMNS_COOKIE,
    FILTERS,
    RENAMED,
    SORTED_COLUMNS,
    ListQuery,
    chosen_columns,
)
from voxrec.console.rest_client import Page, RestFailed
from voxrec.console.visit import Visit, form, query, redirect
from voxrec.exports.spreadsheet import BOM, encode_row
from voxrec.model import BulkActionKind, RecordingSort, RecordingState, VerdictFilter
from voxrec.web.response import Response

_PAGE_SIZE: Final = 50
_CSV_PAGE: Final = 200
_YEAR: Final = 31_536_000  # seconds
_CSV_COLUMNS: Final = (
    *(
        "id",
        "profileId",
        "callId",
        "state",
        "createdAt",
        "startedAt",
        "endedAt",
        "duration",
        "size",
        "from",
        "fromName",
    ),
    *("to", "remoteSipUri", "node", "format", "channels", "sha256", "legalHold", "expiresAt", "tags"),
)


async def show_recordings(visit: Visit) -> Response:
    """Show a page of the Recordings that match the filter in the query."""
    listed, columns = ListQuery.of(visit), chosen_columns(visit)
    state, status = FormState(listed.filters), 200
    try:
        page = await _page(visit, listed, _PAGE_SIZE, query(visit.request).get("cursor", ""))
    except RestFailed as failed:
        state = rejected(visit, failed, listed.filters, FILTERS, RENAMED)
        page, status = Page([], ""), failed.problem.status
    return visit.page(
        "recordings.html",
        "recordings",
        status,
        form=state,
        recordings=page.items,
        listed=listed,
        filters=listed.filters,
        columns=columns,
        all_columns=COLUMNS,
        sort_links=_sort_links(listed),
        states=[*RecordingState],
        verdicts=[*VerdictFilter],
        sorts=[*RecordingSort],
        profiles=await visit.profile_names(),
        actions=[action for action in BulkActionKind if visit.may(action.role)],
        next_url=listed.url(cursor=page.next_cursor) if page.next_cursor else "",
    )


def _sort_links(listed: ListQuery) -> dict[str, tuple[str, str]]:
    """Return the URL that sorts by a column, and the value of aria-sort, by the names of columns."""
    links = {}
    current = listed.sort or RecordingSort.NEWEST
    for column, (first, second) in SORTED_COLUMNS.items():
        chosen = second if current == first else first
        direction = {first: "descending", second: "ascending"}.get(current, "none")  # type: ignore[call-overload]
        links[column] = (listed.url(sort="" if chosen is RecordingSort.NEWEST else chosen), direction)
    return links


async def choose_columns(visit: Visit) -> Response:
    """Remember the columns of the list in this browser."""
    fields = form_lists(visit.request)
    chosen = [name for name in COLUMNS if name in fields.get("column", [])]
    cookie = f"{COLUMNS_COOKIE}={'.'.join(chosen)}; Path=/console; Max-Age={_YEAR}; SameSite=Lax"
    return redirect(ListQuery.of_fields(form(visit.request)).url(), {"Set-Cookie": cookie})


async def export_csv(visit: Visit) -> Response:
    """Send all Recordings that match the filter as CSV."""
    listed = ListQuery.of(visit)
    first = await _page(visit, listed, _CSV_PAGE, "")  # an error becomes a page, and no half of a file
    headers = {
        "Content-Type": "text/csv; charset=utf-8; header=present",
        "Content-Disposition": 'attachment; filename="recordings.csv"',
        "Cache-Control": "private, no-store",
    }
    return Response(200, headers, _csv(visit, listed, first, await visit.profile_names()))


async def _csv(visit: Visit, listed: ListQuery, page: Page, profiles: dict[str, str]) -> AsyncGenerator[bytes, None]:
    yield BOM + encode_row((*_CSV_COLUMNS, "profile", "verdict", "reasons", "metadata"))
    while True:
        yield b"".join(_row(recording, profiles) for recording in page.items)
        if not page.next_cursor:
            return
        page = await _page(visit, listed, _CSV_PAGE, page.next_cursor)


def _row(recording: dict[str, Any], profiles: dict[str, str]) -> bytes:
    values = {**recording, "tags": ",".join(recording["tags"])}
    verdict = recording["verdict"] or {"ok": None, "reasons": ()}
    metadata = recording["metadata"] or None
    return encode_row(
        (
            *(str(value).lower() if isinstance(value := values[name], bool) else value for name in _CSV_COLUMNS),
            profiles.get(recording["profileId"]),
            {True: "ok", False: "problem"}.get(verdict["ok"]),
            "; ".join(verdict["reasons"]),
            metadata and msgspec.json.encode(metadata).decode(),
        )
    )


async def _page(visit: Visit, listed: ListQuery, size: int, cursor: str) -> Page:
    return await visit.rest.page(listed.collection(), limit=size, cursor=cursor, **listed.rest_filter())
