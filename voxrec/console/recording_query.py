"""The filter, the order and the columns of the list of Recordings in the console, as they are in its URL."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlencode

from voxrec.console.days import start_of_day, zone_of
from voxrec.console.forms import parse_number
from voxrec.console.notes import split_tags
from voxrec.console.visit import START, Visit, query
from voxrec.model import RecordingSort

FILTERS: Final = (
    *("search", "profile", "state", "verdict", "first", "last", "from", "to", "tag", "node"),
    *("min_duration", "max_duration", "hold"),
)
"""The names of the filters, in the URL and in forms."""
RENAMED: Final = {
    "since": "first",
    "until": "last",
    "profileId": "profile",
    "legalHold": "hold",
    "minDuration": "min_duration",
    "maxDuration": "max_duration",
}
"""The names of filters by those of REST, where they differ."""
_BASIC: Final = ("search", "profile", "state", "first", "last")
COLUMNS: Final = ("start", "from", "to", "profile", "duration", "size", "state", "tags", "node", "format", "id")
"""The columns that a user can choose."""
DEFAULT_COLUMNS: Final = ("start", "from", "to", "profile", "duration", "state", "tags")
SORTED_COLUMNS: Final = {
    "start": (RecordingSort.NEWEST, RecordingSort.OLDEST),
    "duration": (RecordingSort.LONGEST, RecordingSort.SHORTEST),
    "size": (RecordingSort.LARGEST, RecordingSort.SMALLEST),
}
"""The orders of the columns by which a list can be sorted: that of the first click, and that of the second."""
COLUMNS_COOKIE: Final = "voxrec_columns"


@dataclass(frozen=True, slots=True)
class ListQuery:
    """What a list shows: ``filters`` by name, as the user has entered them, and the name of an order.

    ``zone`` is the viewer's time zone, for the filters by day.
    """

    filters: Mapping[str, str]
    sort: str
    zone: str

    @classmethod
    def of(cls, visit: Visit) -> "ListQuery":
        """Return the query of the URL."""
        return cls.of_fields(query(visit.request))

    @classmethod
    def of_fields(cls, fields: Mapping[str, str]) -> "ListQuery":
        """Return the query of the fields of a form, or of a URL."""
        filters = {name: fields.get(name, "").strip() for name in FILTERS}
        return cls(filters, fields.get("sort", "").strip(), zone_of(fields))

    @property
    def is_filtered(self) -> bool:
        """Whether there is a filter."""
        return any(self.filters.values())

    @property
    def has_further_filters(self) -> bool:
        """Whether there is a filter that the page hides at first."""
        return any(value for name, value in self.filters.items() if name not in _BASIC)

    @property
    def parameters(self) -> dict[str, str]:
        """The parameters of the URL, without those that are empty."""
        given = {name: value for name, value in self.filters.items() if value}
        if self.sort:
            given["sort"] = self.sort
        if self.zone and (self.filters["first"] or self.filters["last"]):
            given["zone"] = self.zone
        return given

    def url(self, path: str = START, **changes: str) -> str:
        """Return the URL of a page about the same list; ``changes`` are further parameters."""
        parameters = {name: value for name, value in {**self.parameters, **changes}.items() if value}
        return f"{path}?{urlencode(parameters)}" if parameters else path

    def collection(self, suffix: str = "") -> str:
        """Return the path of the list, or of something below it, in the REST API."""
        profile = self.filters["profile"]
        return f"/profiles/{quote(profile, safe='')}/recordings{suffix}" if profile else f"/recordings{suffix}"

    def rest_filter(self) -> dict[str, Any]:
        """Return the filter and the order as query parameters of the REST API, without the Profile."""
        filters = self.filters
        return {
            **{name: filters[name] for name in ("search", "state", "verdict", "from", "to", "node")},
            "tag": ",".join(split_tags(filters["tag"])),
            "since": start_of_day(filters["first"], self.zone),
            "until": start_of_day(filters["last"], self.zone, days=1),
            "minDuration": seconds(filters["min_duration"]),
            "maxDuration": seconds(filters["max_duration"]),
            "legalHold": filters["hold"],
            "sort": self.sort,
        }

    def document(self) -> dict[str, Any]:
        """Return the filter as the REST API expects it in JSON."""
        values: dict[str, Any] = {name: value for name, value in self.rest_filter().items() if value and name != "sort"}
        if self.filters["profile"]:
            values["profileId"] = self.filters["profile"]
        if self.filters["state"]:
            values["state"] = [self.filters["state"]]
        if self.filters["tag"]:
            values["tag"] = split_tags(self.filters["tag"])
        for name in ("minDuration", "maxDuration"):
            if name in values:
                values[name] = parse_number(values[name])
        if "legalHold" in values:
            values["legalHold"] = {"true": True, "false": False}.get(values["legalHold"], values["legalHold"])
        return values


def seconds(text: str) -> str:
    """Return a duration such as 90, 1:30 or 1:02:03 in seconds; other text as it is, for the REST API to refuse it."""
    parts = text.split(":")
    if len(parts) > 3 or not all(part.isdecimal() and part.isascii() for part in parts):
        return text
    total = 0
    for part in parts:
        total = total * 60 + int(part[:9])
    return str(total)


def chosen_columns(visit: Visit) -> tuple[str, ...]:
    """Return the columns that the user of this browser has chosen."""
    chosen = visit.cookie(COLUMNS_COOKIE).split(".")
    columns = tuple(name for name in COLUMNS if name in chosen)
    return columns or DEFAULT_COLUMNS


async def neighbor_urls(visit: Visit) -> dict[str, str]:
    """Return the URLs of the pages of the previous and the next Recording in the list that led to a page.

    They are below the keys ``previous`` and ``next``, and empty at the ends of the list; ``list`` is that of the list.
    """
    listed = ListQuery.of(visit)
    neighbors = await visit.rest.get(listed.collection(f"/{visit.request.id}/neighbors"), **listed.rest_filter())
    urls = {name: listed.url(f"{START}/{id_}") if id_ else "" for name, id_ in neighbors.items()}
    return {**urls, "list": listed.url()}
