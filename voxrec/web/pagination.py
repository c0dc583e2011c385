"""Lists of any length: the whole as one array in bounded memory, or a page and the way to the next."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from typing import Any, Final, Generic, Protocol, TypeVar
from urllib.parse import urlencode

from voxrec.cursor import Cursor, PageItem
from voxrec.errors import FieldError, InvalidInput
from voxrec.web import query
from voxrec.web.request import Request
from voxrec.web.response import JSON, Response

AT_A_TIME: Final = 250  # rows that are in memory at once
PAGED: Final[dict[str, query.Reader]] = {"limit": query.limit, "cursor": query.cursor}
LINK: Final = ("Link",)  # what a page tells beside itself

T = TypeVar("T", bound=PageItem)
F = TypeVar("F", contravariant=True)


class Source(Protocol[T, F]):
    """What a list is read from, newest first."""

    def pages(self, wanted: F, size: int, /) -> AsyncIterator[list[T]]:
        """All that is wanted, ``size`` at a time."""

    async def page(self, wanted: F, limit: int, after: Cursor | None, /) -> list[T]:
        """At most ``limit`` from behind ``after`` on."""


class Paginator(Generic[T, F]):
    """Lists of one kind of thing, each shown by ``show``."""

    def __init__(self, source: Source[T, F], show: Callable[[T], bytes], public_url: str) -> None:
        self._source = source
        self._show = show
        self._public_url = public_url

    async def asked(self, request: Request, readers: Mapping[str, query.Reader], wanted: Callable[..., F]) -> Response:
        """Answer a GET: ``readers`` read the filters, by the parameters' names, and ``wanted`` makes one of them."""
        values = query.read(request.query(), {**readers, **PAGED})
        limit, after = values.pop("limit", None), values.pop("cursor", None)
        if limit is not None:
            return await self._page(request, wanted(values), limit, after)
        if after is not None:
            raise InvalidInput(
                "A parameter is missing.", [FieldError("limit", "is needed with cursor: how long the page may be")]
            )
        return self.whole(wanted(values))

    def whole(self, wanted: F, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
        """Answer with all that is wanted, read while it is sent."""
        return Response(status, {**(headers or {}), "Content-Type": JSON}, self._array(wanted))

    async def _array(self, wanted: F) -> AsyncGenerator[bytes, None]:
        before = b"["
        async with aclosing(_generated(self._source.pages(wanted, AT_A_TIME))) as pages:
            async for page in pages:
                if page:
                    yield before + b",\n".join(map(self._show, page))
                    before = b",\n"
        yield b"[]\n" if before == b"[" else b"]\n"

    async def _page(self, request: Request, wanted: F, limit: int, after: Cursor | None) -> Response:
        found = await self._source.page(wanted, limit + 1, after)  # one more tells whether there is a next page
        page = found[:limit]
        headers = {"Content-Type": JSON}
        if len(found) > limit:
            headers["Link"] = f'<{self._next(request, Cursor.after(page[-1]))}>; rel="next"'
        return Response(200, headers, b"[" + b",\n".join(map(self._show, page)) + b"]\n")

    def _next(self, request: Request, behind: Cursor) -> str:
        parameters = [(name, value) for name, value in request.query() if name != "cursor"]
        return f"{self._public_url}{request.path}?{urlencode([*parameters, ('cursor', query.cursor_text(behind))])}"


async def _generated(pages: AsyncIterator[Any]) -> AsyncGenerator[Any, None]:
    async for page in pages:
        yield page
