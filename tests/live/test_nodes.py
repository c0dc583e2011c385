"""Several nodes, each with its own Asterisk and spool, on one PostgreSQL and one archive."""

import os
import sys
from collections import Counter
from pathlib import Path

from twisted.internet.utils import getProcessOutputAndValue

from tests.live.node_stacks import NodesTestCase
from voxrec.deferreds import gather
from voxrec.sandbox.live_listener import LiveListener
from voxrec.sandbox.sip_user_agent import SipUserAgent
from voxrec.sandbox.stack import FINAL_STATES, Stack


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

    async def test_max_calls_is_exact(self) -> None:
        """Calls that begin on both nodes at the same time: exactly as many are accepted as are permitted."""
        nodes = [await self.start_node(name) for name in self.names]
        answerer = await self.start_answerer(nodes[0])
        fields = {"remoteSipUri": answerer.uri, "record": False, "maxCalls": 5}
        profile = await nodes[0].request_json("PUT", "/profiles", fields)

        for name, node in zip(self.names, nodes, strict=True):  # lets it read the rows of all nodes
            await node.request_json("POST", f"/nodes/{name}", {"draining": False})
        callers = [self.make_agent(node) for _ in range(10) for node in nodes]
        responses = await gather(
            *(caller.request(self.reactor, "INVITE", profile["id"], timeout=60) for caller in callers)
        )
        statuses = Counter(response.status for response in responses)
        self.assertEqual(statuses.keys(), {200, 486})
        inexact = sum([await self.metric(node, "voxrec_max_calls_inexact_total") for node in nodes])
        self.assertIn(statuses[200] - 5, range(int(inexact) + 1), "more calls than the nodes say")
        for caller, response in zip(callers, responses, strict=True):
            if response.status == 200:
                caller.hang_up()

        async def no_calls() -> bool:
            return not await nodes[1].request_json("GET", "/calls")

        self.assertTrue(await nodes[1].wait_until(no_calls, 30))
        again = await (await self.start_calls(nodes[1], profile["id"], talk_seconds=0.1)).finish()
        self.assertEqual(again.succeeded, 1, "ended calls are counted")

    def make_agent(self, node: Stack) -> SipUserAgent:
        """Return a caller at a node, which stays in its call until it is told to hang up."""
        agent = SipUserAgent(node.asterisk.sip_address)
        agent.listen(self.reactor)
        self.addCleanup(agent.stop)
        return agent


class ControlTests(NodesTestCase):
    """Calls of one node, controlled through another."""

    async def test_calls_are_listed_and_controlled_through_any_node(self) -> None:
        berlin, munich = [await self.start_node(name, listening={"enabled": True}) for name in self.names]
        answerer = await self.start_answerer(berlin)
        fields = {"remoteSipUri": answerer.uri, "record": True, "recordBeepAtStart": False, "maxCalls": 1}
        profile = await berlin.request_json("PUT", "/profiles", fields)
        nodes = await munich.request_json("GET", "/nodes")
        self.assertEqual([(node["name"], node["state"]) for node in nodes], [(n, "running") for n in self.names])
        first = await self.start_calls(berlin, profile["id"], talk_seconds=30.0)

        async def talking() -> bool:
            calls = await munich.request_json("GET", "/calls")
            return [(call["node"], call["state"]) for call in calls] == [("berlin", "talking")]

        self.assertTrue(await munich.wait_until(talking, 15))
        second = await (await self.start_calls(munich, profile["id"])).finish()
        self.assertEqual(dict(second.codes), {486: 1}, "maxCalls does not count calls of other nodes")
        (call,) = await munich.request_json("GET", "/calls")
        path = f"/calls/{call['id']}"
        self.assertEqual((await munich.request_json("GET", path))["state"], "talking")
        recording = f"/recordings/{call['recordingId']}"
        for state in ("paused", "recording"):
            changed = await munich.request_json("POST", recording, {"state": state})
            self.assertEqual((changed["state"], changed["node"]), (state, "berlin"))
        seconds: dict[str, list[float]] = {"berlin": [], "munich": []}
        for _ in range(4):  # the fastest of four: the machine is busy with other tests
            for name, stack in (("berlin", berlin), ("munich", munich)):
                started = self.reactor.seconds()
                for state in ("paused", "recording"):
                    await stack.request_json("POST", recording, {"state": state})
                seconds[name].append((self.reactor.seconds() - started) / 2)
        self.assertLess(min(seconds["munich"]) - min(seconds["berlin"]), 0.1, seconds)
        await self.assert_heard_at_its_own_node_only(berlin, munich, call["id"])
        await self.assert_draining(berlin, munich, profile["id"])
        self.assertEqual((await munich.request("DELETE", path)).status, 204)
        self.assertEqual((await first.finish()).succeeded, 1)
        finished = await munich.wait_for_recording(profile["id"])
        self.assertEqual((finished["state"], finished["node"]), ("completed", "berlin"))
        self.assertEqual(self.events(finished).count("paused"), 9)

    async def assert_heard_at_its_own_node_only(self, berlin: Stack, munich: Stack, call: str) -> None:
        """Assert that munich refuses to let a call of berlin be heard, and names berlin, where it can be heard."""
        fields = {"name": "ear", "role": "supervise", "listenLive": True}
        token = (await munich.request_json("PUT", "/tokens", fields))["token"]
        headers = {"Authorization": f"Bearer {token}"}
        refused = await munich.request("GET", f"/calls/{call}/audio", headers=headers)
        self.assertEqual((refused.status, refused.json()["code"]), (409, "other-node"))
        self.assertIn("node berlin", refused.json()["detail"])
        listener = await LiveListener.listen(self.reactor, berlin, call, token)

        async def heard() -> bool:
            return listener.seconds > 0.2

        self.assertTrue(await berlin.wait_until(heard, 30))
        listener.leave()
        await listener.ended

    async def assert_draining(self, berlin: Stack, munich: Stack, profile: str) -> None:
        """Assert that a node that drains refuses a new call at once, and that its live call continues."""
        drained = await munich.request_json("POST", "/nodes/berlin", {"draining": True})
        self.assertEqual((drained["state"], drained["liveCalls"]), ("draining", 1))
        refused = await (await self.start_calls(berlin, profile)).finish()
        self.assertEqual(dict(refused.codes), {503: 1})
        self.assertEqual(len(await munich.request_json("GET", "/calls")), 1)
        await munich.request_json("POST", "/nodes/berlin", {"draining": False})

    async def test_calls_of_a_node_that_fails(self) -> None:
        berlin, munich = [await self.start_node(name) for name in self.names]
        answerer = await self.start_answerer(berlin)
        fields = {"remoteSipUri": answerer.uri, "record": True, "recordBeepAtStart": False}
        profile = await berlin.request_json("PUT", "/profiles", fields)
        caller = await self.start_calls(berlin, profile["id"], talk_seconds=20.0)

        async def states(*expected: str) -> bool:
            return tuple(call["state"] for call in await munich.request_json("GET", "/calls")) == expected

        self.assertTrue(await munich.wait_until(lambda: states("talking"), 15))
        berlin.kill_voxrec()
        self.assertTrue(await munich.wait_until(lambda: states("lost"), 10), "the call is not lost within 10 s")
        (call,) = await munich.request_json("GET", "/calls")
        refused = await munich.request("DELETE", f"/calls/{call['id']}")
        self.assertEqual((refused.status, refused.json()["code"]), (503, "node-unreachable"))
        self.assertIn("berlin", refused.json()["detail"])
        paused = await munich.request("POST", f"/recordings/{call['recordingId']}", {"state": "paused"})
        self.assertEqual((paused.status, paused.json()["code"]), (503, "node-unreachable"))
        await berlin.start_voxrec()
        self.assertTrue(await munich.wait_until(lambda: states("talking"), 10), "the call is still lost")
        self.assertEqual((await caller.finish()).succeeded, 1)
        self.assertEqual((await munich.wait_for_recording(profile["id"]))["state"], "completed")
        self.assertTrue(await munich.wait_until(states, 5))

    async def test_a_node_that_does_not_return(self) -> None:
        """Its machine has failed, and its disk is attached to another node."""
        berlin, munich = [await self.start_node(name) for name in self.names]
        answerer = await self.start_answerer(munich)
        fields = {"remoteSipUri": answerer.uri, "record": True, "recordBeepAtStart": False}
        profile = await berlin.request_json("PUT", "/profiles", fields)
        await self.start_calls(berlin, profile["id"], talk_seconds=30.0)

        async def state() -> str:
            recordings = await munich.request_json("GET", f"/profiles/{profile['id']}/recordings")
            return str(recordings[0]["state"]) if recordings else ""

        async def recording() -> bool:
            return await state() == "recording"

        self.assertTrue(await munich.wait_until(recording, 15))
        await self.sleep(3)
        berlin.kill()

        async def unreachable() -> bool:
            nodes = await munich.request_json("GET", "/nodes")
            return [node["state"] for node in nodes] == ["unreachable", "running"]

        self.assertTrue(await munich.wait_until(unreachable, 10))
        self.assertEqual(await state(), "recording", "a conclusion was drawn about another node")
        output, code = await run_command(
            str(Path(sys.executable).with_name("voxrec")),
            *("nodes", "adopt", "berlin", "--config", str(munich.config_file)),
            *("--spool", str(berlin.asterisk.recording_directory)),
            *("--journal", str(berlin.directory / "data" / "journal")),
        )
        self.assertEqual(code, 0, output)
        adopted = await munich.wait_for_recording(profile["id"])
        self.assertEqual((adopted["state"], adopted["node"]), ("completed", "berlin"))
        self.assertGreater(adopted["duration"], 2)


async def run_command(program: str, *arguments: str) -> tuple[str, int]:
    output, errors, code = await getProcessOutputAndValue(program, arguments, env=dict(os.environ))
    return (output + errors).decode(), code
