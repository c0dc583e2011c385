"""The root of the REST API's resource tree: what applies to every response, and requests that Klein cannot route."""

import re
from typing import Final

from klein.resource import KleinResource
from twisted.web.resource import Resource
from twisted.web.server import Request as HTTPRequest

from voxrec.web.cors import Cors
from voxrec.web.dispatcher import UNMATCHED_PATH, ResponseObserver
from voxrec.web.errors import BadRequest
from voxrec.web.headers import COMMON_HEADERS
from voxrec.web.problems import problem_response
from voxrec.web.request_target import decoded_path

_HOST: Final = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)(?::[0-9]*)?")
_METHOD: Final = re.compile(rb"[A-Z]+")
_STRICT_TRANSPORT_SECURITY: Final = "max-age=31536000"  # one year in seconds


class RootResource(Resource):
    """Sets the headers of every response, answers CORS preflight requests, and passes other requests to Klein.

    ``on_response`` is called for the responses that do not come from Klein.
    """

    isLeaf = True  # noqa: N815 - Twisted's name

    def __init__(self, inner: KleinResource, cors: Cors, on_response: ResponseObserver) -> None:
        super().__init__()
        self._inner = inner
        self._cors = cors
        self._on_response = on_response

    def render(self, request: HTTPRequest) -> object:
        """Render the response, or return NOT_DONE_YET."""
        for name, value in COMMON_HEADERS.items():
            request.setHeader(name, value)
        if request.isSecure():
            request.setHeader("Strict-Transport-Security", _STRICT_TRANSPORT_SECURITY)
        if self._cors.set_headers(request):
            self._begin(request, 204)
            return b""
        try:
            _require_routable(request)
            return self._inner.render(request)
        except Exception as error:  # such as an invalid Host; Twisted would respond with an HTML page
            response = problem_response(error)
            self._begin(request, response.status)
            for header, text in response.headers.items():
                request.setHeader(header, text)
            return response.body

    def _begin(self, request: HTTPRequest, status: int) -> None:
        request.setResponseCode(status)
        self._on_response(UNMATCHED_PATH, request.method.decode("latin-1"), status, 0.0)


def _require_routable(request: HTTPRequest) -> None:
    """Raise NotFound or BadRequest for a request that Klein would misinterpret or fail on."""
    _require_host(request)
    if not _METHOD.fullmatch(request.method):  # Klein would take "get" for GET
        raise BadRequest("Methods are words in capital letters, such as GET (RFC 9110 section 9.1).")
    decoded_path(request.path)


def _require_host(request: HTTPRequest) -> None:
    """Raise BadRequest unless a request has one valid Host header (RFC 9112 section 3.2); HTTP/1.0 needs none."""
    hosts = request.requestHeaders.getRawHeaders(b"host", [])
    if not hosts and request.clientproto != b"HTTP/1.1":
        return
    if len(hosts) != 1 or not _HOST.fullmatch(hosts[0]):
        raise BadRequest("The request must have one Host header, which is the host and the port of the request's URL.")
