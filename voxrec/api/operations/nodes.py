"""/nodes: the nodes that share the database, and whether they accept calls."""

from typing import Any, Final, Protocol

import msgspec

from voxrec.errors import NotFound
from voxrec.model import Node
from voxrec.store.nodes import Nodes
from voxrec.web.auth import Role
from voxrec.web.body import JsonBody
from voxrec.web.request import Request
from voxrec.web.response import Response, json_response
from voxrec.web.route import Route

_UpdateModel: Final[Any] = msgspec.defstruct("Node", [("draining", bool)])


class NodeControl(Protocol):
    """Changes nodes."""

    async def set_draining(self, name: str, draining: bool, /) -> None:
        """Let a node refuse new calls, or accept them again. Raises NotFound, and Unavailable if it does not reply."""


class NodeRoutes:
    """The nodes. A node is a voxrec with its Asterisk and their disks; all nodes share one PostgreSQL."""

    def __init__(self, nodes: Nodes, control: NodeControl) -> None:
        self._nodes = nodes
        self._control = control

    def routes(self) -> tuple[Route, ...]:
        """Return the routes."""
        return (
            Route(*("GET", "/nodes", Role.READ, self._list), response_model=list[Node], summary="List the nodes"),
            Route(
                *("GET", "/nodes/<name>", Role.READ, self._get),
                response_model=Node,
                errors=(NotFound,),
                summary="Get a node",
            ),
            Route(
                *("POST", "/nodes/<name>", Role.ADMIN, self._update),
                guard=self._require_node,
                body=JsonBody(_UpdateModel, required=frozenset({"draining"})),
                response_model=Node,
                errors=(NotFound,),
                summary="Let a node refuse new calls, or accept them again",
            ),
        )

    async def _list(self, _request: Request) -> Response:
        return json_response(await self._nodes.list_all())

    async def _get(self, request: Request) -> Response:
        return json_response(await self._find(request.name))

    async def _update(self, request: Request) -> Response:
        """A draining node answers new calls with 503; its live calls continue. That outlasts a restart."""
        await self._control.set_draining(request.name, request.body.draining)
        return json_response(await self._find(request.name))

    async def _require_node(self, request: Request) -> None:
        await self._find(request.name)

    async def _find(self, name: str) -> Node:
        for node in await self._nodes.list_all():
            if node.name == name:
                return node
        raise NotFound(f"There is no node {name}.")
