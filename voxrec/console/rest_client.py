"""The REST API, as the pages of the console use it: within this process, on behalf of the user who is signed in."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Protocol
from urllib.parse import parse_qs, urlencode, urlsplit

import msgspec

from voxrec.web.auth import Principal
from voxrec.web.problems import Problem
from voxrec.web.response import JSON, Response

_LINK_START: Final = "<"
_LINK_END: Final = ">"


class CallRest(Protocol):
    """Handles a request; see `voxrec.web.dispatcher.Dispatcher.call`."""

    async def __call__(
        self,
        principal: Principal,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        address: str = "",
    ) -> Response:
        """Return the response."""


class RestFailed(Exception):
    """The REST API has refused a request. ``problem`` says why; ``headers`` are those of the response."""

    def __init__(self, problem: Problem, headers: Mapping[str, str]) -> None:
        super().__init__(problem.detail)
        self.problem = problem
        self.headers = headers


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a list. ``next_cursor`` is empty on the last page."""

    items: list[dict[str, Any]]
    next_cursor: str

    def next_url(self, path: str, filters: Mapping[str, str] = MappingProxyType({})) -> str:
        """Return the URL of the next page of the console's list at ``path``; empty on the last page."""
        return _target(path, {**filters, "cursor": self.next_cursor}) if self.next_cursor else ""


class RestClient:
    """Sends requests on behalf of ``principal``, who uses a browser at ``address``."""

    def __init__(self, call: CallRest, principal: Principal, address: str, user_agent: str = "") -> None:
        self._call = call
        self._principal = principal
        self._address = address
        self._headers = {"user-agent": user_agent}

    async def get(self, path: str, /, **query: object) -> Any:
        """Return the JSON document at ``path``. Raises RestFailed."""
        return document(await self._send("GET", _target(path, query)))

    async def readiness(self) -> Any:
        """Return the document at /health/ready, whose status is 503 if a dependency is not ready."""
        return document(await self._call(self._principal, "GET", "/health/ready", address=self._address))

    async def versioned(self, path: str) -> tuple[Any, str]:
        """Return the JSON document at ``path``, and the entity tag of its version. Raises RestFailed."""
        response = await self._send("GET", path)
        return document(response), response.headers["ETag"]

    async def page(self, path: str, /, **query: object) -> Page:
        """Return a page of a list; ``limit`` is its size, ``cursor`` that of the previous page. Raises RestFailed."""
        response = await self._send("GET", _target(path, query))
        return Page(document(response), _next_cursor(response.headers.get("Link", "")))

    async def send(
        self, method: str, target: str, body: Mapping[str, object] | None = None, **headers: str
    ) -> Response:
        """Send a changing request. Raises RestFailed."""
        return await self._send(method, target, b"" if body is None else msgspec.json.encode(body), headers)

    async def result(self, method: str, target: str, body: Mapping[str, object] | None = None) -> Any:
        """Send a changing request, and return the JSON document of the response. Raises RestFailed."""
        return document(await self.send(method, target, body))

    async def _send(
        self, method: str, target: str, body: bytes = b"", more_headers: Mapping[str, str] = MappingProxyType({})
    ) -> Response:
        headers = {**self._headers, **more_headers, **({"content-type": JSON} if body else {})}
        response = await self._call(self._principal, method, target, headers=headers, body=body, address=self._address)
        if response.status >= 400:
            raise RestFailed(problem_of(response), response.headers)
        return response


def _target(path: str, query: Mapping[str, object]) -> str:
    given = {name: value for name, value in query.items() if value not in (None, "")}
    return f"{path}?{urlencode(given)}" if given else path


def _body(response: Response) -> bytes:
    if not isinstance(response.body, bytes):
        raise TypeError("the console reads lists page by page, which are not streamed")
    return response.body


def problem_of(response: Response) -> Problem:
    """Return the problem document of a response."""
    return msgspec.json.decode(_body(response), type=Problem)


def document(response: Response) -> Any:
    """Return the JSON document of a response."""
    return msgspec.json.decode(_body(response))


def _next_cursor(link: str) -> str:
    """Return the parameter ``cursor`` of the URL in the header Link; empty without one."""
    url = link.partition(_LINK_START)[2].partition(_LINK_END)[0]
    return parse_qs(urlsplit(url).query).get("cursor", [""])[0]
