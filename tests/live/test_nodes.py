"""Several nodes, each with its own Asterisk and spool, on one PostgreSQL and one archive."""

from collections import Counter

from tests.live.node_stacks import NodesTestCase
from voxrec.sandbox.stack import FINAL_STATES


class SharedDatabaseTests(NodesTestCase):
    async def test_each_node_finishes_its_own_calls(self) -> None:
        """All calls end within two seconds, so that both nodes look for jobs at the same time."""
        nodes = [await self.start_node(name, queue={"concurrency": 1}) for name in self.names]
        answerer = await self.start_answerer(nodes[0])
        profile = await nodes[0].request_json("PUT", "/profiles", {"remoteSipUri": answerer.uri, "record": True})
        calls = 30
        callers = [
            await self.start_calls(node, profile["id"], count=calls, rate=60, talk_seconds=4.0) for node in nodes
        ]
        results = [await caller.finish() for caller in callers]
        self.assertEqual([result.succeeded for result in results], [calls, calls])

        async def all_final() -> bool:
            recordings = await nodes[0].request_json("GET", f"/profiles/{profile['id']}/recordings")
            return len(recordings) == 2 * calls and all(each["state"] in FINAL_STATES for each in recordings)

        self.assertTrue(await nodes[0].wait_until(all_final, 60))
        recordings = await nodes[1].request_json("GET", f"/profiles/{profile['id']}/recordings")
        self.assertEqual(Counter(each["state"] for each in recordings), {"completed": 2 * calls})
        self.assertEqual(Counter(each["node"] for each in recordings), dict.fromkeys(self.names, calls))
        for node in nodes:
            files = [path.name for path in node.asterisk.recording_directory.glob("voxrec-*")]
            self.assertEqual(files, [], "files were left in the spool")
