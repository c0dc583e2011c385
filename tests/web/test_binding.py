"""Tests of voxrec.web.binding."""

from typing import Any

from msgspec import Struct
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from voxrec.errors import InvalidInput, NotFound, VoxrecError
from voxrec.web.auth import Principal, Role
from voxrec.web.binding import call_handler
from voxrec.web.body import JsonBody
from voxrec.web.errors import BadRequest
from voxrec.web.parameters import integer
from voxrec.web.request import Request
from voxrec.web.response import Response
from voxrec.web.route import Route


class Item(Struct, frozen=True):
    count: int = 0


class BindingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.handled: list[Request] = []

    async def handler(self, request: Request) -> Response:
        self.handled.append(request)
        return Response(200)

    async def refuse(self, _request: Request) -> None:
        raise NotFound("There is no parent.")

    def call(self, raw_query: bytes = b"", raw_body: bytes = b"{}", **declared: Any) -> type[BaseException] | None:
        """Call the handler; return the type of the error, if any."""
        request = Request(
            method="PUT",
            path="/items",
            ids={},
            headers={"content-type": "application/json"},
            raw_query=raw_query,
            raw_body=raw_body,
            principal=Principal("x", Role.READ),
        )

        async def call() -> Response:
            return await call_handler(Route("PUT", "/items", None, self.handler, **declared), request)

        result = Deferred.fromCoroutine(call()).addErrback(lambda failure: failure.trap(VoxrecError) and failure.type)
        outcome = self.successResultOf(result)
        return outcome if isinstance(outcome, type) else None

    def test_parsed_values(self) -> None:
        self.call(b"limit=5", b'{"count": 3}', query={"limit": integer(1, 9, "")}, body=JsonBody(Item))
        self.assertEqual([(request.query, request.body) for request in self.handled], [({"limit": 5}, Item(3))])

    def test_undeclared_query_is_refused(self) -> None:
        self.assertIs(self.call(b"limit=5"), InvalidInput)
        self.assertEqual(self.handled, [])

    def test_ignored_query(self) -> None:
        self.assertIsNone(self.call(b"limit=5", query=None))
        self.assertEqual(self.handled[0].query, {})

    def test_order_of_validation(self) -> None:
        declared: dict[str, Any] = {"body": JsonBody(Item)}
        self.assertIs(self.call(b"x=1", b"[", guard=self.refuse, **declared), NotFound)
        self.assertIs(self.call(b"x=1", b"[", **declared), InvalidInput)
        self.assertIs(self.call(b"", b"[", **declared), BadRequest)
        self.assertEqual(self.handled, [])
