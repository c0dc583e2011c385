"""Tests of calls that a client requests: the commands and events until the far end is called, and every failure."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.calls.fake_asterisk import ProcessFixture, ProfileDirectory, make_profile
from tests.calls.test_call_control import RecordingListener
from voxrec.ari import events
from voxrec.calls.channels.ids import owned_id
from voxrec.calls.channels.takeover_state import CALL_VARIABLE, PLACED_VARIABLE, decode_takeover_state
from voxrec.errors import AsteriskUnavailable, Conflict, InvalidInput, StoreUnavailable, Unavailable
from voxrec.model import Call, Profile

PERSON = "sip:person@192.0.2.9"


class RequestedCallTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.start()

    def start(self, *, allowed_hosts: tuple[str, ...] = (), **fields: Any) -> None:
        self.listener = RecordingListener()
        self.committed: list[Call] = []
        self.commit_error: Exception | None = None
        self.profile = make_profile(**fields)
        directory = ProfileDirectory(self.profile)
        self.process = ProcessFixture(directory, allowed_hosts=allowed_hosts, listeners=(self.listener,))

    def request(self, uri: str = PERSON) -> "Deferred[Call]":
        return Deferred.fromCoroutine(self.process.control.request(self.profile, uri, self.commit))

    async def commit(self, call: Call) -> None:
        self.committed.append(call)
        if self.commit_error is not None:
            raise self.commit_error

    def requested(self) -> Call:
        """Request a call whose channel has entered the application."""
        call = self.successResultOf(self.request())
        self.process.router.handle(events.StasisStart(self.channel(call), ("caller",)))
        return call

    def channel(self, call: Call, state: str = "Down") -> events.Channel:
        return events.Channel(id=owned_id(call.id, "caller"), name="PJSIP/trunk-1", state=state)

    def answer(self, call: Call) -> None:
        self.process.router.handle(events.ChannelStateChange(self.channel(call, "Up")))

    def take_requests(self, call: Call) -> list[str]:
        return [each.replace(str(call.id), "CALL") for each in self.process.asterisk.take_requests()]

    def state(self, call: Call) -> str:
        return self.process.control.get_call(call.id).state

    def test_the_person_is_called_and_then_the_far_end(self) -> None:
        call = self.requested()
        self.assertEqual((call.state, call.from_, call.to), ("calling", "person", str(self.profile.id)))
        self.assertEqual(self.take_requests(call), ["POST channels/create", "POST channels/voxrec-CALL-caller/dial"])
        self.answer(call)
        self.assertEqual(
            self.take_requests(call),
            [
                "POST channels/voxrec-CALL-caller/variable",
                "POST bridges/voxrec-CALL-bridge",
                "POST channels/create",
            ],
        )
        self.assertEqual(
            self.process.asterisk.queries["POST channels/create"]["originator"], f"voxrec-{call.id}-caller"
        )
        self.assertEqual(self.state(call), "placing")
        self.process.answer(self.process.calls[0])
        self.assertIn("DELETE channels/voxrec-CALL-caller/ring", self.take_requests(call))
        self.assertEqual([event for event, *_ in self.listener.events], ["call.started", "call.answered"])

    def test_channel_of_the_person(self) -> None:
        self.start(name='The "desk"', numbers=("+4930222",))
        call = self.successResultOf(self.request())
        query = self.process.asterisk.queries["POST channels/create"]
        self.assertEqual((query["endpoint"], query["appArgs"]), (f"PJSIP/trunk/{PERSON}", "caller"))
        self.assertNotIn("originator", query)
        body: Any = self.process.asterisk.bodies["POST channels/create"]
        variables = body["variables"]
        self.assertEqual(
            (variables["CONNECTEDLINE(num,i)"], variables["CONNECTEDLINE(name,i)"], variables["CALLERID(num)"]),
            ("+4930222", "The desk", "person"),
        )
        state = decode_takeover_state(variables[CALL_VARIABLE])
        assert state is not None
        self.assertEqual((state.call_id, state.invited, state.leg), (call.id, PERSON, ""))
        self.assertNotIn(PLACED_VARIABLE, variables)

    def test_person_who_refuses(self) -> None:
        for status, cause in ((486, 17), (603, 21), (404, 1)):
            self.start()
            call = self.requested()
            channel = self.channel(call)
            self.process.router.handle(events.StasisEnd(channel))
            self.process.router.handle(events.ChannelDestroyed(channel, cause=cause, tech_cause=status))
            self.assertEqual(self.process.calls, [])
            ended = self.listener.calls[-1]
            self.assertEqual((ended.hangup_by, ended.hangup_cause, ended.sip_status), ("caller", cause, status))
            self.assertEqual([event for event, *_ in self.listener.events], ["call.started", "call.ended"])

    def test_status_that_the_dialplan_reports(self) -> None:
        call = self.requested()
        channel = self.channel(call)
        fields = events.UserEvent(status="486")
        self.process.router.handle(events.ChannelUserevent(events.STATUS_EVENT, fields, channel))
        self.process.router.handle(events.ChannelDestroyed(channel, cause=17))
        self.assertEqual(self.listener.calls[-1].sip_status, 486)

    def test_person_who_does_not_answer(self) -> None:
        call = self.requested()
        self.process.clock.advance(20)
        self.assertIn("DELETE channels/voxrec-CALL-caller", self.take_requests(call))
        ended = self.listener.calls[-1]
        self.assertEqual((ended.state, ended.hangup_by, ended.hangup_cause), ("clearing", "voxrec", 19))

    def test_channel_that_leaves_the_application_and_stays(self) -> None:
        call = self.requested()
        self.process.router.handle(events.StasisEnd(self.channel(call)))
        self.process.clock.advance(1)
        self.assertEqual(self.state(call), "clearing")

    def test_channel_that_cannot_be_created_or_dialled(self) -> None:
        for path in ("channels/create", "/dial"):
            self.start()
            self.process.asterisk.errors[path] = 500
            call = self.requested()
            self.assertEqual(self.state(call), "clearing", path)

    def test_cancellation(self) -> None:
        call = self.requested()
        self.process.control.release(call.id)
        self.assertIn("DELETE channels/voxrec-CALL-caller", self.take_requests(call))
        self.process.router.handle(events.ChannelDestroyed(self.channel(call), cause=16))
        self.assertEqual(self.process.calls, [])

    def test_far_end_that_refuses(self) -> None:
        call = self.requested()
        self.answer(call)
        leg = events.Channel(id=owned_id(call.id, "leg"), name="PJSIP/trunk-2")
        self.process.router.handle(events.StasisStart(leg, ("leg",)))
        self.take_requests(call)
        self.process.router.handle(events.ChannelDestroyed(leg, cause=17, tech_cause=486))
        self.assertIn("DELETE channels/voxrec-CALL-caller", self.take_requests(call))
        ended = self.listener.calls[-1]
        self.assertEqual((ended.hangup_by, ended.hangup_cause, ended.sip_status), ("callee", 17, 486))

    def test_hosts_that_must_not_be_called(self) -> None:
        self.start(allowed_hosts=("192.0.2.9",), remote_sip_uri="sip:desk@198.51.100.1")
        error = self.failureResultOf(self.request("sip:a@198.51.100.1"), InvalidInput).value
        self.assertEqual([each.field for each in error.field_errors], ["from"])
        self.failureResultOf(self.request(), Conflict)
        self.assertEqual(self.process.asterisk.requests, [])

    def test_request_that_cannot_be_stored_calls_nobody(self) -> None:
        self.commit_error = StoreUnavailable("PostgreSQL is unreachable")
        self.failureResultOf(self.request(), StoreUnavailable)
        self.assertEqual((self.process.calls, self.process.asterisk.requests, self.listener.events), ([], [], []))
        self.commit_error = None
        self.assertEqual(self.successResultOf(self.request()), self.committed[-1])

    def test_limits(self) -> None:
        self.start(max_calls=1)
        self.requested()
        self.assertIn("maximum of 1", self.failureResultOf(self.request(), Conflict).value.detail)

    def test_maximum_over_all_nodes(self) -> None:
        self.start(max_calls=10)

        async def reserve(_profile: Profile) -> bool:
            return False

        self.process.control.reserve = reserve
        self.failureResultOf(self.request(), Conflict)

    def test_node_that_accepts_no_calls(self) -> None:
        self.process.admission.set_draining(True)
        self.assertIn("draining", self.failureResultOf(self.request(), Unavailable).value.detail)
        self.process.control._is_connected = lambda: False
        self.failureResultOf(self.request(), AsteriskUnavailable)
