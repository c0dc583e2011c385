"""Requests to other nodes and their replies, over LISTEN and NOTIFY of PostgreSQL.

PostgreSQL authenticates the nodes; no further port, certificate or secret is needed.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final
from uuid import UUID, uuid4

import msgspec
from twisted.internet.defer import Deferred, TimeoutError  # noqa: A004
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from voxrec.error_codes import ProblemReason
from voxrec.errors import Conflict, NodeUnreachable, NotFound, Unavailable, VoxrecError
from voxrec.store.nodes import Nodes

REPLY_TIMEOUT: Final = 3.0
"""Seconds that a node may take to reply."""
_REASONS: Final = frozenset(ProblemReason)
_ERRORS: Final[Mapping[str, type[VoxrecError]]] = {error.code: error for error in (Conflict, NotFound, Unavailable)}

RequestHandler = Callable[[Mapping[str, Any]], Awaitable[Any]]
"""Executes a request with its parameters, and returns a result that JSON can represent."""


class _Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A request (with ``method``) or a reply to the request with the same id."""

    id: UUID
    to: str
    sender: str
    method: str = ""
    params: dict[str, Any] = {}
    result: Any = None
    error: tuple[str, str] | None = None
    reason: str = ""


class NodeMessages:
    """Sends requests to other nodes, and executes those of other nodes with ``handlers``, by method."""

    _log = Logger()

    def __init__(self, clock: IReactorTime, nodes: Nodes, node: str, handlers: Mapping[str, RequestHandler]) -> None:
        self._clock = clock
        self._nodes = nodes
        self._node = node
        self._handlers = handlers
        self._waiting: dict[UUID, Deferred[_Message]] = {}

    async def request(self, node: str, method: str, **params: object) -> Any:
        """Let another node execute a method, and return its result.

        Raises NodeUnreachable if it does not reply in time, and Conflict, NotFound and Unavailable as the node does.
        """
        message = _Message(id=uuid4(), to=node, sender=self._node, method=method, params=params)
        reply: Deferred[_Message] = Deferred()
        self._waiting[message.id] = reply
        try:
            await self._nodes.send(msgspec.json.encode(message).decode())
            answer = await reply.addTimeout(REPLY_TIMEOUT, self._clock)
        except TimeoutError as error:
            raise NodeUnreachable(f"Node {node} does not respond.") from error
        finally:
            self._waiting.pop(message.id, None)
        if answer.error is not None:
            code, detail = answer.error
            reason = ProblemReason(answer.reason) if answer.reason in _REASONS else None
            raise _ERRORS.get(code, Unavailable)(detail, reason=reason)
        return answer.result

    def received(self, payload: str) -> None:
        """Handle a notification."""
        message = msgspec.json.decode(payload, type=_Message)
        if message.to != self._node:
            return
        if message.method:
            Deferred.fromCoroutine(self._execute(message)).addErrback(
                lambda failure: self._log.failure(
                    "the request {method} of node {sender} failed",
                    failure,
                    method=message.method,
                    sender=message.sender,
                )
            )
        elif (waiting := self._waiting.get(message.id)) is not None and not waiting.called:
            waiting.callback(message)

    async def _execute(self, message: _Message) -> None:
        result, error, reason = None, None, ""
        try:
            if (handler := self._handlers.get(message.method)) is None:
                raise Unavailable(f"Node {self._node} runs a version of voxrec that does not know {message.method}.")
            result = await handler(message.params)
        except VoxrecError as failed:
            error = (failed.code if failed.code in _ERRORS else Unavailable.code, failed.detail)
            reason = failed.problem_reason or ""
        reply = _Message(id=message.id, to=message.sender, sender=self._node, result=result, error=error, reason=reason)
        await self._nodes.send(msgspec.json.encode(reply).decode())
