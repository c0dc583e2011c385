"""Tests of /nodes."""

from uuid import UUID

from tests.api.rest_test_case import RestTestCase
from voxrec.model import NodeStatus
from voxrec.store.nodes import Nodes


class NodesTests(RestTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        status = NodeStatus(version="1.2", asterisk_version="22.5.2", live_calls=3, spool_free=10**9, journal_pending=4)
        await Nodes(self.pool).heartbeat("pbx-1.example", UUID(int=1), UUID(int=2), status)

    async def test_representation(self) -> None:
        (node,) = (await self.request("GET", "/nodes", token="read")).json
        self.assertRegex(node.pop("lastHeartbeat"), r"^20\d\d-.*Z$")
        self.assertEqual(
            node,
            {
                "name": "pbx-1.example",
                "state": "running",
                "draining": False,
                "version": "1.2",
                "asteriskVersion": "22.5.2",
                "liveCalls": 3,
                "spoolFree": 10**9,
                "journalPending": 4,
                "problem": None,
                "pendingJobs": 0,
            },
        )

    async def test_draining(self) -> None:
        response = await self.request("POST", "/nodes/pbx-1.example", json={"draining": True})
        self.assertEqual((response.status, response.json["name"]), (200, "pbx-1.example"))
        self.assertEqual(self.node_control.changes, [("pbx-1.example", True)])

    async def test_unknown_node(self) -> None:
        for method in ("GET", "POST"):
            response = await self.request(method, "/nodes/nowhere", json={"draining": True})
            self.assertEqual((response.status, response.json["code"]), (404, "not-found"))

    async def test_only_an_administrator_drains(self) -> None:
        response = await self.request("POST", "/nodes/pbx-1.example", token="provision", json={"draining": True})
        self.assertEqual((response.status, self.node_control.changes), (403, []))

    async def test_invalid_changes(self) -> None:
        for body in ({}, {"draining": "yes"}, {"draining": True, "name": "x"}):
            response = await self.request("POST", "/nodes/pbx-1.example", json=body)
            self.assertEqual(response.status, 422, body)
