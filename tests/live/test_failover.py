"""The primary of PostgreSQL fails during calls, and its standby, which lacks the last commits, is promoted."""

from typing import Any

from tests.live.node_stacks import NodesTestCase
from tests.temporary import temporary_directory
from voxrec.sandbox.replication import ReplicatedPostgres
from voxrec.sandbox.stack import Stack


class FailoverTests(NodesTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.postgres = ReplicatedPostgres(temporary_directory("failover"), {"full_page_writes": "off"})
        self.addCleanup(self.postgres.stop)
        self.postgres.start()
        self.dsn = self.postgres.dsn()

    async def recordings(self, stack: Stack, profile: str) -> list[dict[str, Any]]:
        """Return the Recordings of a Profile, oldest first; none while PostgreSQL is unavailable."""
        response = await stack.request("GET", f"/profiles/{profile}/recordings")
        return list(reversed(response.json())) if response.status == 200 else []

    async def wait_for_states(self, stack: Stack, profile: str, *states: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []

        async def reached() -> bool:
            found[:] = await self.recordings(stack, profile)
            return [each["state"] for each in found] == list(states)

        self.assertTrue(await stack.wait_until(reached, 40), f"{found}\n{stack.voxrec_log_tail()}")
        return found

    async def test_no_recording_is_lost(self) -> None:
        """One call has ended, been recorded and mailed, and another one has begun, all unknown to the standby."""
        node = await self.start_node("berlin")
        answerer = await self.start_answerer(node)
        fields = {"remoteSipUri": answerer.uri, "record": True, "recordBeepAtStart": False, "email": "a@voxrec.test"}
        profile = (await node.request_json("PUT", "/profiles", fields))["id"]
        self.postgres.primary.wait_until_replicated()
        self.postgres.standby.stop()

        short = await self.start_calls(node, profile, talk_seconds=1.5)
        self.assertEqual((await short.finish()).succeeded, 1)
        (before,) = await self.wait_for_states(node, profile, "completed")
        await node.wait_for_mail(before["id"])
        long = await self.start_calls(node, profile, talk_seconds=20.0)
        await self.wait_for_states(node, profile, "completed", "recording")

        self.postgres.primary.kill()
        self.postgres.standby.start()
        self.postgres.promote()
        recovered = await self.wait_for_states(node, profile, "completed", "recording")
        for field in ("id", "state", "sha256", "size", "duration", "startedAt", "endedAt", "from", "to"):
            self.assertEqual(recovered[0].get(field), before.get(field), field)
        audio = await node.request("GET", f"/recordings/{before['id']}/audio")
        self.assertEqual((audio.status, len(audio.body)), (200, before["size"]))

        self.assertEqual(await node.readiness_status(), 200)
        (call,) = await node.request_json("GET", "/calls")
        paused = await node.request_json("POST", f"/recordings/{call['recordingId']}", {"state": "paused"})
        self.assertEqual(paused["state"], "paused")
        self.assertEqual((await node.request("DELETE", f"/calls/{call['id']}")).status, 204)
        await long.finish()
        await self.wait_for_states(node, profile, "completed", "completed")
        self.assertEqual(node.count_log_lines("PostgreSQL has failed over: timeline 2 after 1"), 1)
        spool = node.asterisk.recording_directory

        async def is_empty() -> bool:  # the files are deleted after the result was stored
            return not any(spool.glob("voxrec-*"))

        self.assertTrue(await node.wait_until(is_empty, 20), f"files were left in the spool: {list(spool.iterdir())}")
