"""Calls through the shipped Kamailio configuration: to a ready node, once, and to another one if a node fails."""

import atexit
import os
import re
import signal
from collections import Counter
from itertools import count
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred

from tests.certificates import make_pem
from tests.live.live_test_case import PROFILE_SECONDS, UNTRUSTED_ADDRESS, LiveTestCase, make_stack
from tests.live.node_stacks import NodesTestCase
from tests.live.test_replaced_channels import replaces_of
from tests.temporary import temporary_directory
from voxrec.deferreds import gather
from voxrec.sandbox import tones
from voxrec.sandbox.asterisk import LOOPBACK, SandboxAsterisk
from voxrec.sandbox.kamailio import READY_EXTENSION, SandboxKamailio
from voxrec.sandbox.observer import observe_asterisk
from voxrec.sandbox.phone import UDP, Network, Phone
from voxrec.sandbox.rootfs import ASTERISK_16, KAMAILIO, ensure_rootfs
from voxrec.sandbox.sip_user_agent import OK, SipMessage, SipResponse, SipUserAgent
from voxrec.sandbox.stack import Stack

NOTICE_SECONDS = 20.0
"""Within which Kamailio must notice that a node is ready or not; it needs about 3 s on a machine without load."""


class OptionsTests(LiveTestCase):
    """Asterisk's answer to OPTIONS for voxrec-ready."""

    async def test_options_are_answered_with_200_only_while_voxrec_is_ready(self) -> None:
        stack = make_stack(recipe=self.recipe)
        self.addCleanup(stack.stop)
        await stack.start()
        agent = SipUserAgent(stack.asterisk.sip_address)
        agent.listen(self.reactor)
        self.addCleanup(agent.stop)

        async def status() -> int | None:
            return (await agent.request(self.reactor, "OPTIONS", READY_EXTENSION)).status

        async def ready() -> bool:
            return await status() == 200

        async def not_ready() -> bool:
            return await status() == 404

        self.assertTrue(await stack.wait_until(ready, 10))
        self.assertEqual((await agent.request(self.reactor, "INVITE", READY_EXTENSION)).status, 404)
        node = (await stack.request_json("GET", "/nodes"))[0]["name"]
        await stack.request_json("POST", f"/nodes/{node}", {"draining": True})
        self.assertTrue(await stack.wait_until(not_ready, 5))
        await stack.request_json("POST", f"/nodes/{node}", {"draining": False})
        self.assertTrue(await stack.wait_until(ready, 5))
        stack.kill_voxrec()
        self.assertTrue(await stack.wait_until(not_ready, 6), "the readiness of a process that was killed remains")
        await stack.start_voxrec()
        self.assertTrue(await stack.wait_until(ready, 10))
        await stack.stop_voxrec()
        self.assertEqual(await status(), 404, "voxrec has stopped, and is still called ready")


class OptionsOnAsterisk16Tests(OptionsTests):
    recipe = ASTERISK_16


class Distributed:
    """Two nodes behind Kamailio, which the tests of this module share."""

    def __init__(self, names: tuple[str, ...], nodes: list[Stack]) -> None:
        self.nodes = dict(zip(names, nodes, strict=True))
        self.ports = {node.asterisk.sip_address[1]: name for name, node in self.nodes.items()}
        self.certificate = b"".join(make_pem(LOOPBACK))
        self.kamailio = SandboxKamailio(
            temporary_directory("kamailio"),
            ensure_rootfs(KAMAILIO, lambda _line: None),
            [node.asterisk.sip_address for node in nodes],
            certificate=self.certificate,
        )
        atexit.register(self.kamailio.kill)


_shared: list[Distributed] = []
_numbers = count(1000)  # of callers: each call has its own


class ReliableAgent(SipUserAgent):
    """A caller that requires reliable provisional responses, and acknowledges them with PRACK (RFC 3262)."""

    def response_received(self, response: SipMessage) -> None:
        """Send PRACK for a reliable provisional response."""
        if response.header("rseq"):
            self.acknowledge_provisional(response)
        super().response_received(response)


class KamailioTests(NodesTestCase):
    async def distributed(self) -> Distributed:
        """Return the nodes and Kamailio, to which calls are distributed evenly; the first call starts them."""
        if not _shared:
            nodes = [await self.start_shared_node(name) for name in self.names]
            _shared.append(Distributed(self.names, nodes))
            await _shared[0].kamailio.start(reactor)
            for name, node in zip(self.names, nodes, strict=True):  # lets it read the rows of all nodes
                await node.request_json("POST", f"/nodes/{name}", {"draining": False})
        self.cluster = _shared[0]
        self.berlin, self.munich = self.cluster.nodes.values()
        self.far_end = SipUserAgent(self.berlin.asterisk.sip_address)
        self.far_end.listen(self.reactor)
        self.addCleanup(self.far_end.stop)
        self.profile = await self.put_profile(f"sip:desk@{self.far_end.host_port}")
        await self.wait_for_distribution(*self.names)
        return self.cluster

    async def start_shared_node(self, name: str) -> Stack:
        """Start a node that is killed when this process ends."""
        stack = make_stack(self.settings(name))
        await stack.start()
        return stack

    async def put_profile(self, uri: str) -> str:
        """Create a Profile that all nodes know, and return its id."""
        fields = {"remoteSipUri": uri, "record": True, "recordBeepAtStart": False}
        profile: dict[str, Any] = await self.munich.request_json("PUT", "/profiles", fields)
        await self.sleep(PROFILE_SECONDS)
        return str(profile["id"])

    async def call(self) -> SipMessage:
        """Place a call, hang up if it is answered, and return the final response."""
        caller = SipUserAgent(self.cluster.kamailio.sip_address)
        caller.listen(self.reactor)
        try:
            number = f"<sip:+4930{next(_numbers)}@127.0.0.1>"
            response = await caller.request(self.reactor, "INVITE", self.profile, from_=number, timeout=30)
            if response.status == 200:
                caller.hang_up()
            return response
        finally:
            await caller.stop()

    def invites(self, before: int) -> list[SipMessage]:
        """Return the INVITEs to the far end after the first ``before`` ones, without retransmissions."""
        received = self.far_end.requests("INVITE")[before:]
        return list({invite.header("call-id"): invite for invite in received}.values())

    async def distribution(self, calls: int = 2) -> Counter[str]:
        """Return how many of ``calls`` calls in sequence each node has got. All must be answered, by one node."""
        names: Counter[str] = Counter()
        for _ in range(calls):
            before = len(self.far_end.requests("INVITE"))
            self.assertEqual((await self.call()).status, 200, self.cluster.kamailio.log_tail())
            (invite,) = self.invites(before)
            names[self.cluster.ports[int(invite.header("via").split(";")[0].rpartition(":")[2])]] += 1
        return names

    async def wait_for_distribution(self, *names: str) -> None:
        """Wait until calls go to the nodes ``names`` and to no other."""

        async def reached() -> bool:
            return {*await self.distribution()} == {*names}

        self.assertTrue(await self.munich.wait_until(reached, NOTICE_SECONDS), self.cluster.kamailio.log_tail())

    async def test_failures_of_a_node(self) -> None:
        """No call is refused that the other node can take, from the first moment on."""
        await self.distributed()
        self.berlin.kill_voxrec()
        self.assertEqual(await self.distribution(), {"munich": 2})
        await self.berlin.start_voxrec()
        await self.wait_for_distribution(*self.names)
        self.berlin.asterisk.kill()
        self.assertEqual(await self.distribution(), {"munich": 2})
        await self.berlin.asterisk.start(self.reactor)
        await self.wait_for_distribution(*self.names)

    async def test_the_far_end_is_called_once_although_a_node_responds_late(self) -> None:
        """Asterisk is interrupted, and has the INVITE when it continues; Kamailio does not cancel it any more."""
        await self.distributed()
        asterisk, kamailio = self.berlin.asterisk, self.cluster.kamailio
        before = await self.processed_calls(asterisk)
        os.kill(asterisk.pid, signal.SIGSTOP)
        self.addCleanup(os.kill, asterisk.pid, signal.SIGCONT)
        self.assertEqual([(await self.call()).status for _ in self.names], [200, 200])
        kamailio.kill()
        os.kill(asterisk.pid, signal.SIGCONT)

        def called_twice() -> list[str]:
            calls = Counter(invite.header("from").partition(";")[0] for invite in self.invites(0))
            return [caller for caller, count in calls.items() if count > 1]

        async def handled() -> bool:
            received = await self.processed_calls(asterisk) > before
            return received and bool(called_twice() or not await observer.list_channels())

        observer = observe_asterisk(self.berlin, self.reactor)
        self.assertTrue(await self.munich.wait_until(handled, 30), "Asterisk has not received the call")
        self.assertEqual(called_twice(), [], "the far end was called for one call by two nodes")
        await kamailio.start(self.reactor)
        await self.wait_for_distribution(*self.names)
        self.assertEqual(called_twice(), [])

    async def test_a_call_that_was_passed_to_another_node_is_given_up(self) -> None:
        """By a node that has it already, and by one that receives it late. Kamailio's part is played by the test."""
        await self.distributed()
        profile = await self.put_profile(f"sip:late@{self.far_end.host_port}")
        self.far_end.invite_responses = (SipResponse(180),)
        before = len(self.far_end.requests("INVITE"))
        nodes = self.berlin, self.munich, self.berlin
        first, second, late = agents = [SipUserAgent(node.asterisk.sip_address) for node in nodes]
        for agent in agents:
            agent.listen(self.reactor)
            self.addCleanup(agent.stop)

        def attempt(agent: SipUserAgent, number: int) -> Deferred[SipMessage]:
            headers = {"X-Voxrec-Attempt": f"{profile.replace('-', '')}/{number}"}
            return Deferred.fromCoroutine(agent.request(self.reactor, "INVITE", profile, headers=headers))

        async def calls(number: int) -> bool:
            return len(self.invites(before)) == number

        given_up = attempt(first, 0)
        self.assertTrue(await self.berlin.wait_until(lambda: calls(1), 10))
        answered = attempt(second, 1)
        self.assertEqual((await given_up).status, 482)
        self.assertEqual((await attempt(late, 0)).status, 482)
        self.assertTrue(await self.berlin.wait_until(lambda: calls(2), 10))
        cancelled, current = self.invites(before)
        (cancel,) = self.far_end.requests("CANCEL")
        self.assertEqual(cancel.header("call-id"), cancelled.header("call-id"))
        self.far_end.respond(current, 200, self.far_end.sdp_offer())
        self.assertEqual((await answered).status, 200)
        second.hang_up()
        recording = await self.munich.wait_for_recording(profile)
        self.assertEqual(recording["node"], "munich")

    async def test_an_invite_that_arrives_by_two_ways_reaches_the_far_end_once(self) -> None:
        """A trunk that forks, or lets two numbers ring; and one that tries again with the same Call-ID."""
        await self.distributed()
        other = await self.put_profile(f"sip:other@{self.far_end.host_port}")
        self.far_end.invite_responses = (SipResponse(180),)
        before = len(self.far_end.requests("INVITE"))
        same = {"Call-ID": f"{self.profile}@trunk", "From": "<sip:+4930111@127.0.0.1>;tag=a1"}
        ways = [SipUserAgent(self.cluster.kamailio.sip_address) for _ in range(4)]
        for way in ways:
            way.listen(self.reactor)
            self.addCleanup(way.stop)

        def invite(way: SipUserAgent, dialled: str) -> Deferred[SipMessage]:
            return Deferred.fromCoroutine(way.request(self.reactor, "INVITE", dialled, headers=same))

        async def called() -> bool:
            merged = any(response.status == 482 for way in ways for response in way.received)
            return merged and len(self.invites(before)) == 2

        calls = [invite(*each) for each in zip(ways, (self.profile, self.profile, other), strict=False)]
        self.assertTrue(await self.munich.wait_until(called, 10), self.cluster.kamailio.log_tail())
        for received in self.invites(before):
            self.far_end.respond(received, 503)
        statuses = Counter(response.status for response in await gather(*calls))
        self.assertEqual(statuses, {482: 1, 503: 2})
        self.far_end.invite_responses = (OK,)
        again = await invite(ways[3], self.profile)
        self.assertEqual(again.status, 200, self.cluster.kamailio.log_tail())
        ways[3].hang_up()
        self.assertEqual(len(self.invites(before)), 3)

    async def processed_calls(self, asterisk: SandboxAsterisk) -> int:
        """Return the number of calls that an Asterisk has received since its start."""
        output = await asterisk.run_console_command(self.reactor, "core show channels count")
        (number,) = re.findall(r"(\d+) calls? processed", output)
        return int(number)

    async def test_draining_nodes_get_no_calls(self) -> None:
        await self.distributed()
        await self.munich.request_json("POST", "/nodes/berlin", {"draining": True})
        await self.wait_for_distribution("munich")
        await self.munich.request_json("POST", "/nodes/munich", {"draining": True})
        self.assertEqual((await self.call()).status, 503)
        for name in self.names:
            await self.munich.request_json("POST", f"/nodes/{name}", {"draining": False})
        await self.wait_for_distribution(*self.names)

    async def test_a_far_end_that_refuses_is_not_called_again(self) -> None:
        """Not even if it refuses as a node does that is draining."""
        await self.distributed()
        for status in (503, 500, 486):
            before = len(self.far_end.requests("INVITE"))
            self.far_end.invite_responses = (SipResponse(status, (("Reason", "Q.850;cause=34"),)),)
            self.assertEqual((await self.call()).status, status)
            self.assertEqual(len(self.invites(before)), 1, f"the far end answered {status} and was called again")

    async def test_only_trunks_and_nodes_may_send_requests(self) -> None:
        cluster = await self.distributed()
        stranger = SipUserAgent(cluster.kamailio.sip_address, UNTRUSTED_ADDRESS)
        stranger.listen(self.reactor)
        self.addCleanup(stranger.stop)
        invites = len(self.far_end.requests("INVITE"))
        self.assertEqual((await stranger.request(self.reactor, "INVITE", self.profile)).status, 403)
        host, port = cluster.kamailio.sip_address
        in_dialog = {"Route": f"<sip:{host}:{port};lr>", "To": "<sip:desk@127.0.0.1>;tag=1"}
        target = f"sip:desk@{self.far_end.host_port}"
        for method in ("BYE", "INVITE", "MESSAGE"):
            response = await stranger.request(self.reactor, method, "", headers=in_dialog, request_uri=target)
            self.assertEqual(response.status, 403, method)
        self.assertEqual(len(self.far_end.requests("INVITE")), invites)
        callers = {message.header("call-id").partition("@")[2] for message in self.far_end.received}
        self.assertNotIn(UNTRUSTED_ADDRESS, callers)

    async def test_a_request_that_cannot_be_relayed_gets_one_response(self) -> None:
        """Kamailio listens on no IPv6 address. A second response would be of another dialog: it has another tag."""
        cluster = await self.distributed()
        host, port = cluster.kamailio.sip_address
        in_dialog = {"Route": f"<sip:{host}:{port};lr>", "To": "<sip:desk@127.0.0.1>;tag=1"}
        for method in ("BYE", "INVITE"):
            agent = SipUserAgent(cluster.kamailio.sip_address)
            agent.listen(self.reactor)
            self.addCleanup(agent.stop)
            response = await agent.request(
                self.reactor, method, "", headers=in_dialog, request_uri="sip:desk@[2001:db8::1]:5060", timeout=30
            )
            self.assertEqual(response.status, 500, method)
            await self.sleep(1)
            finals = [message.start_line for message in agent.received if (message.status or 0) >= OK.status]
            self.assertEqual(finals, [response.start_line], method)

    async def test_requests_in_a_dialog_reach_its_node(self) -> None:
        """re-INVITE and BYE of the caller, BYE of the far end, and CANCEL."""
        await self.distributed()
        tone = tones.write_tone(self.directory / "tone.wav", 440, 1.0)
        await gather(*(self.hold_and_hang_up(name, tone) for name in self.names))
        ringing = self.kill_at_end(Phone.make_callee(self.reactor, self.directory, name="ringing", ring_seconds=60))
        await ringing.start()
        caller = self.caller(await self.put_profile(ringing.uri), "canceller", cancel_after=2.0)
        await caller.start()
        self.assertEqual((await caller.wait_until_ended()).code, 487)
        self.assertEqual((await ringing.wait_until_ended(10)).code, 487)

    async def test_prack_and_update(self) -> None:
        """Reliable provisional responses (RFC 3262), and UPDATE (RFC 3311)."""
        await self.distributed()
        self.far_end.invite_responses = (SipResponse(183, sdp=True), SipResponse(200, sdp=True, after=1.0))
        for _ in self.names:
            caller = ReliableAgent(self.cluster.kamailio.sip_address)
            caller.listen(self.reactor)
            self.addCleanup(caller.stop)
            headers = {"Require": "100rel", "Allow": "INVITE, ACK, BYE, CANCEL, PRACK, UPDATE"}
            response = await caller.request(self.reactor, "INVITE", self.profile, headers=headers, timeout=30)
            self.assertEqual(response.status, 200, self.cluster.kamailio.log_tail())
            caller.update()
            await self.wait_for_response(caller, "UPDATE")
            caller.hang_up()
            await self.wait_for_response(caller, "BYE")
            answered = [message.header("cseq").split()[1] for message in caller.received if message.status == 200]
            self.assertEqual(answered, ["PRACK", "INVITE", "UPDATE", "BYE"])

    async def wait_for_response(self, agent: SipUserAgent, method: str) -> None:
        """Wait until an agent has received 200 for its request of this method."""

        async def received() -> bool:
            return any(m.status == 200 and m.header("cseq").endswith(f" {method}") for m in agent.received)

        self.assertTrue(await self.munich.wait_until(received, 10), f"{method}: {self.cluster.kamailio.log_tail()}")

    async def test_invite_with_replaces_reaches_the_node_of_the_call(self) -> None:
        """Also if Kamailio sends it to the other node first, which does not know the dialog."""
        await self.distributed()
        for _ in self.names:
            before = len(self.far_end.requests("INVITE"))
            caller, taker = [SipUserAgent(self.cluster.kamailio.sip_address) for _ in range(2)]
            for agent in (caller, taker):
                agent.listen(self.reactor)
                self.addCleanup(agent.stop)
            response = await caller.request(self.reactor, "INVITE", self.profile, timeout=30)
            self.assertEqual(response.status, 200, self.cluster.kamailio.log_tail())
            (invite,) = self.invites(before)
            replaces = {"Replaces": replaces_of(invite, self.far_end.tag)}
            answer = await taker.request(self.reactor, "INVITE", "anything", headers=replaces, timeout=30)
            self.assertEqual(answer.status, 200, self.cluster.kamailio.log_tail())

            async def replaced(call: str = invite.header("call-id")) -> bool:
                return any(bye.header("call-id") == call for bye in self.far_end.requests("BYE"))

            self.assertTrue(await self.munich.wait_until(replaced, 10))
            self.assertEqual((caller.requests("BYE"), taker.requests("BYE")), ([], []))
            caller.hang_up()

            async def over(taker: SipUserAgent = taker) -> bool:
                return bool(taker.requests("BYE"))

            self.assertTrue(await self.munich.wait_until(over, 10))

    async def test_a_trunk_with_tls(self) -> None:
        """Requests of both parties in the dialog pass between TLS to the trunk and UDP to the node."""
        cluster = await self.distributed()
        tone = tones.write_tone(self.directory / "tone.wav", 440, 1.0)
        certificate = self.directory / "phone.pem"
        certificate.write_bytes(cluster.certificate)
        network = Network("tls", certificate=str(certificate))
        await gather(*(self.hold_and_hang_up(name, tone, network) for name in self.names))

    async def hold_and_hang_up(self, name: str, tone: Path, network: Network = UDP) -> None:
        """Hold a call and end it: as its far end if ``name`` is berlin, otherwise as its caller."""
        desk = self.kill_at_end(Phone.make_callee(self.reactor, self.directory, name=f"desk-{name}", play=tone))
        await desk.start()
        profile = await self.put_profile(desk.uri)
        caller = self.caller(profile, f"caller-{name}", play=tone, network=network)
        await caller.start()
        await caller.wait_for("confirmed", 20)
        await caller.hold()
        await caller.resume()
        first, second = (desk, caller) if name == "berlin" else (caller, desk)
        await first.hang_up()
        await second.wait_until_ended(10)
        recording = await self.munich.wait_for_recording(profile)
        self.assertEqual(recording["state"], "completed")
        self.assertEqual(self.events(recording).count("held"), 1, recording["timeline"])

    def caller(self, profile: str, name: str, network: Network = UDP, **options: Any) -> Phone:
        kamailio = self.cluster.kamailio
        uri = network.uri(profile, kamailio.sip_address[1] if network is UDP else kamailio.tls_port)
        phone = Phone.make_caller(self.reactor, self.directory, uri, name=name, network=network, **options)
        return self.kill_at_end(phone)
