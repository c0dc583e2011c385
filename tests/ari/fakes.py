"""A transport whose responses a test determines."""

from collections.abc import Mapping

from twisted.internet.defer import Deferred, fail, succeed

from voxrec.ari.transport import AriResponseError


class FakeTransport:
    """Stores every request, and answers it at once.

    ``responses`` maps a request such as ``GET channels`` to a body, an error status, or an error. The default body
    is ``{}``.
    """

    def __init__(self, **responses: bytes | int | AriResponseError) -> None:
        self.requests: list[tuple[str, dict[str, str], object | None]] = []
        self.responses: dict[str, bytes | int | AriResponseError] = responses

    def request(
        self, method: str, path: tuple[str, ...], query: Mapping[str, str], body: object | None = None
    ) -> Deferred[bytes]:
        request = f"{method} {'/'.join(path)}"
        self.requests.append((request, dict(query), body))
        response = self.responses.get(request, b"{}")
        if isinstance(response, AriResponseError):
            return fail(response)
        if isinstance(response, int):
            return fail(AriResponseError(request, response, "no such object"))
        return succeed(response)
