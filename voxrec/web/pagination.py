"""Lists: the complete list as one array in bounded memory, or one page and the link to the next."""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from struct import Struct
from typing import Any, Final, Generic, Protocol, TypeVar
from urllib.parse import urlencode
from uuid import UUID

from voxrec.cursor import Cursor
from voxrec.error_codes import FieldErrorCode
from voxrec.errors import FieldError, InvalidInput, InvalidValue
from voxrec.web.parameters import integer
from voxrec.web.query import QueryParameter, query_items, query_parameter
from voxrec.web.request import Request
from voxrec.web.response import JSON, Response

MAX_LIMIT: Final = 1000
LINK: Final = ("Link",)
"""The response headers of a list."""
BATCH_SIZE: Final = 50  # rows read and encoded at once, during which the reactor does nothing else
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_CURSOR: Final = Struct(">q16s")  # microseconds since the epoch, UUID
_CURSOR_TEXT: Final = re.compile(r"[A-Za-z0-9_-]{32}")

T = TypeVar("T")
F = TypeVar("F", contravariant=True)

limit = integer(1, MAX_LIMIT, "Maximum number of items in a page.")


@query_parameter(type="string", format="cursor", minLength=32, maxLength=32)
def cursor(value: str) -> Cursor:
    """The position where the page starts: opaque, and only obtained from the Link of the previous page."""
    if _CURSOR_TEXT.fullmatch(value):
        microseconds, key = _CURSOR.unpack(urlsafe_b64decode(value))
        try:
            return Cursor(_EPOCH + timedelta(microseconds=microseconds), UUID(bytes=key))
        except OverflowError:
            pass
    raise not_a_cursor()


def not_a_cursor() -> InvalidValue:
    """Return the error of a parameter ``cursor`` that is not that of a page."""
    message = 'is not a cursor; follow the Link with rel="next" of the previous page unchanged'
    return InvalidValue(message, FieldErrorCode.NOT_A_CURSOR)


def encode_cursor(position: Cursor) -> str:
    """Return the text of a cursor, which the parameter ``cursor`` parses."""
    microseconds = (position.created_at - _EPOCH) // timedelta(microseconds=1)
    return urlsafe_b64encode(_CURSOR.pack(microseconds, position.id.bytes)).decode("ascii")


PAGINATION: Final[dict[str, QueryParameter[Any]]] = {"limit": limit, "cursor": cursor}
"""The query parameters of every list."""


class PageSource(Protocol[T, F]):
    """A repository that a list is read from."""

    def pages(self, filter_: F, size: int, /) -> AsyncIterator[list[T]]:
        """Iterate over all matching items in batches of ``size``."""

    async def page(self, filter_: F, limit: int, after: Any, /) -> list[T]:
        """Return at most ``limit`` matching items after a position."""


@dataclass(frozen=True)
class Positions(Generic[T]):
    """The positions in a list: ``after`` returns the one after an item, ``encode`` the text of a cursor."""

    after: Callable[[T], Any]
    encode: Callable[[Any], str]


NEWEST_FIRST: Final = Positions[Any](Cursor.after, encode_cursor)
"""The positions in a list that is sorted by creation time."""


class Paginator(Generic[T, F]):
    """Responds with lists of one resource. ``represent`` returns the JSON of an item."""

    def __init__(
        self,
        source: PageSource[T, F],
        represent: Callable[[T], bytes],
        public_url: str,
        positions: Positions[T] = NEWEST_FIRST,
    ) -> None:
        self._source = source
        self._represent = represent
        self._public_url = public_url
        self._positions = positions

    async def respond(self, request: Request, filter_: F) -> Response:
        """Return the page that ``limit`` and ``cursor`` of the query select, or the complete list without ``limit``."""
        size, after = request.query.get("limit"), request.query.get("cursor")
        if size is not None:
            return await self._page(request, filter_, size, after)
        if after is not None:
            field_error = FieldError("limit", "is required with cursor", FieldErrorCode.REQUIRED)
            raise InvalidInput("A parameter is missing.", [field_error])
        return self.complete_list(filter_)

    def complete_list(self, filter_: F, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
        """Return a response that streams all matching items."""
        return Response(status, {**(headers or {}), "Content-Type": JSON}, self._stream(filter_))

    async def _stream(self, filter_: F) -> AsyncGenerator[bytes, None]:
        separator = b"["
        async with aclosing(_as_generator(self._source.pages(filter_, BATCH_SIZE))) as pages:
            async for page in pages:
                if page:
                    yield separator + b",\n".join(map(self._represent, page))
                    separator = b",\n"
        yield b"[]\n" if separator == b"[" else b"]\n"

    async def _page(self, request: Request, filter_: F, size: int, after: Any) -> Response:
        parts: list[bytes] = []
        remaining, has_next = size, True
        while remaining and has_next:
            count = min(remaining, BATCH_SIZE)
            items = await self._source.page(filter_, count + 1, after)  # one more item shows whether there are more
            has_next, batch = len(items) > count, items[:count]
            remaining -= count
            if batch:
                parts.append(b",\n".join(map(self._represent, batch)))
                after = self._positions.after(batch[-1])
        headers = {"Content-Type": JSON}
        if has_next and after is not None:
            headers["Link"] = f'<{self._next_url(request, after)}>; rel="next"'
        return Response(200, headers, b"[" + b",\n".join(parts) + b"]\n")

    def _next_url(self, request: Request, position: Any) -> str:
        parameters = [(name, value) for name, value in query_items(request.raw_query) if name != "cursor"]
        parameters.append(("cursor", self._positions.encode(position)))
        return f"{self._public_url}{request.path}?{urlencode(parameters)}"


async def _as_generator(pages: AsyncIterator[Any]) -> AsyncGenerator[Any, None]:
    """Make an async iterator closable."""
    async for page in pages:
        yield page
