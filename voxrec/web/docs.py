"""/openapi.json and /docs: the contract for programs, and a page on which people read and try it."""

from collections.abc import Callable, Sequence
from functools import cached_property
from importlib import resources
from typing import Final

import msgspec

from voxrec.web.conditions import etag_of
from voxrec.web.openapi import ApiInfo, document
from voxrec.web.request import Request
from voxrec.web.response import Response
from voxrec.web.route import Route

_HTML: Final = "text/html; charset=utf-8"
_CSS: Final = "text/css; charset=utf-8"
_SCRIPT: Final = "text/javascript; charset=utf-8"
# Nothing but what is served here, and nothing inline: what a text of the document says can never run.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "media-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)


class DocsRoutes:
    """The contract, for programs and for people. Open to everybody: it tells what can be asked, not what is there."""

    def __init__(self, routes: Callable[[], Sequence[Route]], info: ApiInfo) -> None:
        self._all_routes = routes
        self._info = info

    def routes(self) -> tuple[Route, ...]:
        """The route table."""
        return (
            Route("GET", "/openapi.json", None, self._openapi, tag="docs", summary="This document"),
            self._file("/docs", "page.html", _HTML, "A page to read and try all this"),
            self._file("/docs/page.css", "page.css", _CSS, "How the page looks"),
            self._file("/docs/page.js", "page.js", _SCRIPT, "What the page does"),
        )

    @cached_property
    def _document(self) -> bytes:
        # made when it is asked for, when all routes are there
        return msgspec.json.encode(document(self._all_routes(), self._info))

    async def _openapi(self, request: Request) -> Response:
        return _cached(request, "application/json", self._document)

    def _file(self, path: str, name: str, media_type: str, summary: str) -> Route:
        async def give(request: Request) -> Response:
            return _cached(request, media_type, resources.files(__package__).joinpath("docs_page", name).read_bytes())

        kind = media_type.partition(";")[0]
        return Route("GET", path, None, give, kind, response_model=(kind,), tag="docs", summary=summary)


def _cached(request: Request, media_type: str, body: bytes) -> Response:
    etag = etag_of(body)
    headers = {"ETag": etag, "Cache-Control": "no-cache", "Content-Security-Policy": _POLICY}
    if request.conditions.unchanged(etag):
        return Response(304, headers)
    return Response(200, {**headers, "Content-Type": media_type}, body)
