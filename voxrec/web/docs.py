"""/openapi.json and /docs: the OpenAPI document, and a page that shows it and sends requests."""

from collections.abc import Callable, Sequence
from functools import cached_property
from importlib import resources
from typing import Final

import msgspec

from voxrec.web.openapi import ApiInfo, openapi_document
from voxrec.web.openapi_webhooks import WebhookOperation
from voxrec.web.request import Request
from voxrec.web.response import JSON, Response, conditional_get
from voxrec.web.route import CONDITIONAL, ETAG, Route

_HTML: Final = "text/html; charset=utf-8"
_CSS: Final = "text/css; charset=utf-8"
_JAVASCRIPT: Final = "text/javascript; charset=utf-8"
# Only files of this server and nothing inline, so that text in the document can never run as a script.
_CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "media-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)


class DocsRoutes:
    """The documentation of the API. No token is required, because it contains no data."""

    def __init__(
        self, all_routes: Callable[[], Sequence[Route]], info: ApiInfo, webhooks: Sequence[WebhookOperation] = ()
    ) -> None:
        self._all_routes = all_routes
        self._info = info
        self._webhooks = webhooks

    def routes(self) -> tuple[Route, ...]:
        """Return the routes."""
        return (
            Route(
                *("GET", "/openapi.json", None, self._openapi),
                request_headers=CONDITIONAL,
                response_headers=ETAG,
                tag="docs",
                summary="Get this document",
            ),
            self._file_route("/docs", "page.html", _HTML, "Get a page that shows this document"),
            self._file_route("/docs/page.css", "page.css", _CSS, "Get the style sheet of the page"),
            self._file_route("/docs/page.js", "page.js", _JAVASCRIPT, "Get the script of the page"),
        )

    @cached_property
    def _document(self) -> bytes:
        # built by the first request, when all routes are registered
        return msgspec.json.encode(openapi_document(self._all_routes(), self._info, self._webhooks))

    async def _openapi(self, request: Request) -> Response:
        return _revalidated(request, JSON, self._document)

    def _file_route(self, path: str, name: str, content_type: str, summary: str) -> Route:
        async def get_file(request: Request) -> Response:
            content = resources.files(__package__).joinpath("docs_page", name).read_bytes()
            return _revalidated(request, content_type, content)

        media_type = content_type.partition(";")[0]
        return Route(
            *("GET", path, None, get_file, media_type),
            response_model=(media_type,),
            request_headers=CONDITIONAL,
            response_headers=ETAG,
            tag="docs",
            summary=summary,
        )


def _revalidated(request: Request, content_type: str, body: bytes) -> Response:
    """Return a response that browsers may cache, but revalidate before each use."""
    headers = {"Cache-Control": "no-cache", "Content-Security-Policy": _CONTENT_SECURITY_POLICY}
    return conditional_get(request.conditions, body, content_type, headers)
