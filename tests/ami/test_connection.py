"""Tests of voxrec.ami.connection and protocol: a real protocol over a connection in memory, driven by a Clock."""

import sys
from collections.abc import Sequence
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from tests.ami.fakes import FakeNetwork, error
from voxrec.ami.connection import AmiConnection, endpoint_for
from voxrec.ami.protocol import AmiResponse, AmiResponseError
from voxrec.deferreds import Backoff
from voxrec.errors import AsteriskUnavailable, CommandNotSent, InvalidInput, Unavailable

_LOGIN = ["Challenge", "Login", "ModuleCheck", "StopMixMonitor"]


class RecordingListener:
    def __init__(self) -> None:
        self.states: list[str] = []

    def ami_connected(self) -> None:
        self.states.append("connected")

    def ami_disconnected(self) -> None:
        self.states.append("disconnected")


class ConnectionTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.network = FakeNetwork(self.clock)
        self.listener = RecordingListener()

    def start(self, *, password: str = "secret", **arguments: Any) -> AmiConnection:
        self.connection = AmiConnection(
            self.clock,
            self.network,  # type: ignore[arg-type] # implements only connect()
            user="voxrec",
            password=password,
            request_timeout=5,
            ping_interval=10,
            ping_timeout=2,
            backoff=Backoff(first=0.5, limit=8, jitter=0),
            **arguments,
        )
        self.connection.set_listener(self.listener)
        self.connection.startService()
        self.addCleanup(self.stop)
        self.network.flush()
        return self.connection

    def stop(self) -> None:
        if self.connection.running:
            stopping = self.connection.stopService()
            self.network.flush()
            assert stopping is not None
            self.successResultOf(stopping)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.network.flush()

    def request(self, action: str = "CoreStatus", **fields: str) -> Deferred[AmiResponse]:
        result = self.connection.action(action, fields)
        self.network.flush()
        return result

    def logged(self, logs: Sequence[dict[str, Any]]) -> list[str]:
        return [str(event["log_format"]).format(**event) for event in logs if "log_format" in event]


class LoginTests(ConnectionTestCase):
    def test_the_login_does_not_send_the_password_and_asks_for_no_events(self) -> None:
        connection = self.start()
        self.assertTrue(connection.ready)
        self.assertIsNone(connection.problem)
        self.assertEqual(connection.version, 11)
        self.assertEqual(self.listener.states, ["connected"])
        self.assertEqual([each["Action"] for each in self.network.actions], _LOGIN)
        self.assertEqual(self.network.actions[1]["Events"], "off")
        self.assertNotIn("secret", str(self.network.actions))

    def test_before_the_login_no_action_can_be_sent(self) -> None:
        self.network.answers["Login"] = lambda _fields: None
        self.start()
        self.assertFalse(self.connection.ready)
        self.assertEqual(self.connection.problem, "not connected yet")
        self.failureResultOf(self.request(), AsteriskUnavailable)
        self.assertEqual(len(self.network.actions), 2)

    def test_a_wrong_password_is_retried_with_back_off_and_logged_once(self) -> None:
        with capturedLogs() as logs:
            self.start(password="wrong")
            for _ in range(3):
                self.advance(8)
        reason = "Asterisk refuses the login of the AMI user voxrec: Authentication failed"
        self.assertEqual(self.connection.problem, reason)
        self.assertEqual(self.logged(logs), [f"AMI: cannot connect, so calls cannot be recorded; retrying: {reason}"])
        self.assertEqual(len(self.network.attempts), 4)
        self.assertEqual(self.listener.states, [])
        self.assertNotIn("wrong", str(logs))

    def test_a_password_that_is_corrected(self) -> None:
        self.network.password = "other"
        self.start()
        self.assertFalse(self.connection.ready)
        self.network.password = "secret"
        self.advance(1)
        self.assertTrue(self.connection.ready)
        self.successResultOf(self.request())

    def test_a_missing_privilege(self) -> None:
        self.network.answers["ModuleCheck"] = lambda _fields: error("Permission denied")
        self.start()
        self.assertEqual(
            self.connection.problem,
            "the AMI user voxrec may not use MixMonitor; expected write = system in manager.conf",
        )

    def test_a_missing_module(self) -> None:
        self.network.answers["ModuleCheck"] = lambda _fields: error("Module not loaded")
        self.start()
        self.assertEqual(self.connection.problem, "app_mixmonitor.so is not loaded in Asterisk: Module not loaded")

    def test_a_refused_connection(self) -> None:
        self.network.refusing = True
        self.start()
        for _ in range(6):
            self.advance(0.5)
        self.assertEqual(self.network.attempts, [0, 1, 3])
        self.network.refusing = False
        self.advance(4)
        self.assertTrue(self.connection.ready)
        self.network.drop_connection()
        self.network.refusing = True
        self.advance(0.5)  # a ready connection has reset the delay
        self.assertEqual(len(self.network.attempts), 5)


class PeerTests(ConnectionTestCase):
    """What a peer can do that is not Asterisk, or hangs."""

    def test_a_banner_that_never_comes(self) -> None:
        self.network.banner = b""
        self.start()
        self.advance(4.9)
        self.assertEqual(self.connection.problem, "not connected yet")
        self.advance(0.1)
        self.assertEqual(self.connection.problem, "the peer sent no banner of AMI within 5 s")

    def test_garbage_instead_of_the_banner(self) -> None:
        name = b"Asterisk Call Manager/"
        for banner in (
            b"SSH-2.0-OpenSSH_9.2\r\n",
            b"\r\n",
            b"\x16\x03\x01\x02\r\n",
            name + b"\r\n",
            name + b"1" * 5000 + b".0.0\r\n",  # int() refuses it
            b"\r\n" + name + b"11.0.0\r\n",
        ):
            self.network.banner = banner
            self.start()
            self.assertEqual(self.connection.problem, "the peer did not send the banner of AMI")
            self.stop()

    def test_a_line_without_an_end(self) -> None:
        self.start()
        for _ in range(20):
            self.network.send(b"x" * 1000)
        self.assertEqual(
            self.connection.problem, "the connection closed: the peer sent a line of more than 16384 bytes"
        )

    def test_a_message_without_an_end(self) -> None:
        self.start()
        self.network.send(b"Output: x\r\n" * 300)
        self.assertEqual(self.connection.problem, "the connection closed: AMI: a message has more than 256 lines")

    def test_garbage_between_messages_changes_nothing(self) -> None:
        self.start()
        self.network.send(b"\x00\xff\xfe\r\n: \r\n:\r\n\r\n\r\nnonsense\r\n\r\nResponse\r\n\r\nResponse: \r\n\r\n")
        self.network.send(b"Event: Hangup\r\nResponse: Success\r\nActionID: 1\r\n\r\n")
        self.successResultOf(self.request())

    def test_a_peer_that_answers_no_ping(self) -> None:
        self.start()
        self.network.answers["Ping"] = lambda _fields: None
        pending = self.request("MixMonitor")
        self.successResultOf(pending)
        self.advance(10)
        self.assertTrue(self.connection.ready)
        self.advance(2)
        self.assertFalse(self.connection.ready)
        self.assertEqual(self.connection.problem, "the connection closed: no response to Ping within 2 s")
        self.assertEqual(self.listener.states, ["connected", "disconnected"])
        self.advance(0.5)
        self.assertEqual(self.listener.states, ["connected", "disconnected", "connected"])

    def test_pings_of_an_idle_connection(self) -> None:
        self.start()
        for _ in range(5):
            self.advance(10)
        self.assertTrue(self.connection.ready)
        self.assertEqual([each["Action"] for each in self.network.actions], [*_LOGIN, *["Ping"] * 5])


class ActionTests(ConnectionTestCase):
    def names(self) -> list[str]:
        """Return the actions that were sent since the login."""
        return [each["Action"] for each in self.network.actions[len(_LOGIN) :]]

    def answer(self, fields: dict[str, str], **more: str) -> None:
        lines = "".join(f"{name}: {value}\r\n" for name, value in more.items())
        self.network.send(f"Response: Success\r\nActionID: {fields['ActionID']}\r\n{lines}\r\n".encode())

    def test_an_action_is_sent_when_the_one_before_has_a_response(self) -> None:
        self.start()
        self.network.answers["Slow"] = lambda _fields: None
        results = [self.request("Slow", Number=str(number)) for number in range(3)]
        for number, result in enumerate(results):
            self.assertEqual(len(self.names()), number + 1)
            self.answer(self.network.actions[-1], Number=str(number))
            self.assertEqual(self.successResultOf(result).fields["Number"], str(number))

    def test_a_response_to_another_action_is_ignored(self) -> None:
        self.start()
        self.network.answers["Slow"] = lambda _fields: None
        first, second = self.request("Slow"), self.request("Slow")
        fields = self.network.actions[-1]
        prefix, _, number = fields["ActionID"].rpartition("-")
        for other in (f"{prefix}-{int(number) - 1}", f"{prefix}-{int(number) + 1}", "", number):
            self.answer({"ActionID": other})
        self.assertNoResult(first)
        self.answer(fields)
        self.successResultOf(first)
        self.answer(fields)  # twice
        self.assertNoResult(second)
        self.answer(self.network.actions[-1])
        self.successResultOf(second)

    def test_a_response_in_pieces(self) -> None:
        self.start()
        self.network.answers["Slow"] = lambda _fields: None
        result = self.request("Slow")
        for byte in b"Response: Success\r\nActionID: %s\r\n\r\n" % self.network.actions[-1]["ActionID"].encode():
            self.assertNoResult(result)
            self.network.send(bytes([byte]))
        self.successResultOf(result)

    def test_a_refused_action(self) -> None:
        self.start()
        self.network.answers["StopMixMonitor"] = lambda _fields: error("No such channel")
        failure = self.failureResultOf(self.request("StopMixMonitor"), AmiResponseError)
        self.assertEqual(failure.value.message, "No such channel")

    def test_only_the_action_without_a_response_may_have_been_executed(self) -> None:
        self.start()
        self.network.answers["Slow"] = lambda _fields: None
        slow = self.request("Slow")
        self.advance(3)
        others = [self.request("Other") for _ in range(2000)]
        self.advance(2)
        error = self.failureResultOf(slow, AsteriskUnavailable).value
        self.assertEqual(str(error), "no response from Asterisk to Slow within 5 s")
        self.assertNotIsInstance(error, CommandNotSent)
        for other in others:
            self.failureResultOf(other, CommandNotSent)
        self.assertEqual(self.names(), ["Slow"])
        self.assertEqual(self.connection.problem, "the connection closed: no response to Slow within 5 s")
        self.advance(0.5)
        self.assertTrue(self.connection.ready)

    def test_the_time_limit_begins_when_the_action_is_sent(self) -> None:
        self.start()
        self.network.answers["Slow"] = lambda _fields: None
        self.request("Slow")
        result = self.request("Slow")
        self.advance(4.5)
        self.answer(self.network.actions[-1])
        self.advance(4.5)
        self.answer(self.network.actions[-1])
        self.successResultOf(result)
        self.assertTrue(self.connection.ready)

    def test_an_action_that_waits_too_long_is_not_sent(self) -> None:
        self.start()
        self.network.answers["Slow"] = lambda _fields: None
        self.request("Slow")
        self.request("Slow")
        late = self.request("Late")
        self.advance(4)
        self.answer(self.network.actions[-1])
        later = self.request("Later")
        self.advance(4)
        self.answer(self.network.actions[-1])
        error = self.failureResultOf(late, CommandNotSent).value
        self.assertEqual(str(error), "Asterisk takes more than 5 s for the AMI actions before Late")
        self.successResultOf(later)
        self.assertEqual(self.names(), ["Slow", "Slow", "Later"])

    def test_while_a_channel_is_blocked_no_command_is_sent(self) -> None:
        self.start()
        self.network.answers["Slow"] = self.network.answers["StopMixMonitor"] = lambda _fields: None
        slow = self.request("Slow")
        self.advance(5)
        self.failureResultOf(slow, AsteriskUnavailable)
        for _ in range(10):
            self.advance(1)
            self.failureResultOf(self.request("Other"), CommandNotSent)
        self.assertEqual(self.connection.problem, "no response from Asterisk to StopMixMonitor within 5 s")
        del self.network.answers["StopMixMonitor"]
        for _ in range(10):
            self.advance(1)
        self.assertTrue(self.connection.ready)

    def test_a_command_that_follows_a_failure_is_not_sent(self) -> None:
        self.start()
        self.network.answers["Slow"] = lambda _fields: None
        slow, following = self.request("Slow"), []
        slow.addErrback(lambda _: following.append(self.connection.action("Other", {})))
        self.advance(5)
        self.failureResultOf(following[0], CommandNotSent)
        self.assertNotIn("Other", self.names())

    def test_no_ping_is_sent_while_an_action_has_no_response(self) -> None:
        self.start()
        self.network.answers["Slow"] = lambda _fields: None
        self.advance(9)
        result = self.request("Slow")
        self.advance(4)  # a ping is due, and would have no response
        self.answer(self.network.actions[-1])
        self.successResultOf(result)
        self.assertTrue(self.connection.ready)
        self.assertEqual(self.names(), ["Slow"])

    def test_it_becomes_ready_when_what_the_former_session_started_cannot_matter_any_more(self) -> None:
        revoked: Deferred[None] = Deferred()
        connection = self.start(before_ready=lambda: revoked)
        self.assertFalse(connection.ready)
        self.failureResultOf(self.request(), CommandNotSent)
        revoked.callback(None)
        self.assertTrue(connection.ready)

    def test_it_does_not_become_ready_while_what_the_former_session_started_can_matter(self) -> None:
        outcomes = [Unavailable("no space left"), Unavailable("no space left"), None]

        async def revoke() -> None:
            if error := outcomes.pop(0):
                raise error

        with capturedLogs() as logs:
            connection = self.start(before_ready=revoke)
            self.assertEqual(connection.problem, "no space left")
            self.failureResultOf(self.request(), CommandNotSent)
            self.advance(1)
            self.assertFalse(connection.ready)
            self.advance(2)
        self.assertTrue(connection.ready)
        self.assertEqual(len(self.logged(logs)), 1)

    def test_it_is_dropped_when_what_others_started_can_matter(self) -> None:
        connection = self.start()
        self.network.answers["Slow"] = lambda _fields: None
        pending = self.request("Slow")
        connection.drop("no space left")
        self.failureResultOf(connection.action("Slow", {}), CommandNotSent)
        self.network.flush()
        self.failureResultOf(pending, AsteriskUnavailable)
        self.assertEqual(connection.problem, "the connection closed: no space left")
        connection.drop("no space left")  # it is not connected
        self.advance(0.5)
        self.assertTrue(connection.ready)

    def test_a_cancelled_action_ignores_its_response(self) -> None:
        self.start()
        self.network.answers["Slow"] = lambda _fields: None
        result = self.request("Slow")
        queued, other = self.request("Other"), self.request("Other")
        for cancelled in (result, queued):
            cancelled.cancel()
            self.failureResultOf(cancelled, AsteriskUnavailable)
        self.assertNoResult(other)
        self.answer(self.network.actions[-1])
        self.successResultOf(other)
        self.assertEqual(self.names(), ["Slow", "Other"])

    def test_invalid_values_are_not_sent(self) -> None:
        self.start()
        sent = len(self.network.actions)
        self.failureResultOf(self.request("Setvar", Value="1\r\n\r\nAction: Logoff\r\n\r\n"), InvalidInput)
        self.failureResultOf(self.request("Set\r\nvar"), InvalidInput)
        self.assertEqual(len(self.network.actions), sent)

    def test_action_ids_cannot_be_guessed_from_those_of_another_connection(self) -> None:
        self.start()
        self.network.drop_connection()
        self.advance(0.5)
        prefixes = {each["ActionID"].rpartition("-")[0] for each in self.network.actions}
        self.assertEqual(len(prefixes), 2)
        self.assertEqual({len(prefix) for prefix in prefixes}, {16})


# What a message consists of, whole and in pieces, and arbitrary bytes
_FRAGMENTS = (
    *(
        b"\r\n",
        b"\r",
        b"\n",
        b"\r\n\r\n",
        b":",
        b": ",
        b"Response",
        b"Response:\r\n",
        b"Message: \r\n",
        b"Event: X\r\n",
    ),
    *(b"Response: Error\r\n", b"Response: Success\r\n", b"ActionID: 1\r\n", b"x" * 17_000),
)
_PIECES = st.lists(st.one_of(st.sampled_from(_FRAGMENTS), st.binary(max_size=20)), max_size=12)
_FUZZ = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])


class RubbishTests(ConnectionTestCase):
    """Whatever arrives, an action succeeds only by its own response, and the connection works or is opened again."""

    def start_anew(self) -> None:
        ConnectionTestCase.setUp(self)
        self.network.answers["Slow"] = lambda _fields: None
        self.start()

    def finish(self) -> None:
        self.network.bytes_left = sys.maxsize
        for _ in range(20):
            self.advance(1)
        self.assertTrue(self.connection.ready)
        self.successResultOf(self.request())
        self.stop()
        self.assertEqual(self.flushLoggedErrors(), [])

    @_FUZZ
    @given(_PIECES, _PIECES)
    def test_pieces_of_messages(self, before: list[bytes], behind: list[bytes]) -> None:
        self.start_anew()
        result = self.request("Slow")
        for piece in before:
            self.network.send(piece)
        self.assertFalse(isinstance(getattr(result, "result", None), AmiResponse))
        answer = f"\r\n\r\nResponse: Success\r\nActionID: {self.network.actions[-1]['ActionID']}\r\n\r\n".encode()
        was_open = self.connection.ready
        self.network.send(answer + b"".join(behind))
        if was_open:
            self.successResultOf(result)
        else:
            self.failureResultOf(result, AsteriskUnavailable)
        self.finish()

    @_FUZZ
    @given(_PIECES)
    def test_pieces_of_messages_during_the_login(self, pieces: list[bytes]) -> None:
        for action in _LOGIN:
            self.start_anew()
            self.network.answers[action] = lambda _fields: b"".join(pieces)
            self.network.drop_connection()
            self.advance(1)
            del self.network.answers[action]
            self.finish()

    def test_the_connection_is_lost_after_each_byte(self) -> None:
        for count in range(1000):
            ConnectionTestCase.setUp(self)
            self.network.bytes_left = count
            self.start()
            if not self.connection.ready:
                self.assertIsNotNone(self.connection.problem)
                self.finish()
                continue
            result = self.request()
            if self.connection.ready:
                self.successResultOf(result)
                self.finish()
                break
            failure = self.failureResultOf(result, AsteriskUnavailable)
            self.assertNotIsInstance(failure.value, CommandNotSent)
            self.finish()
        self.assertGreater(count, 200)
        self.assertLess(count, 999)


class DisconnectionTests(ConnectionTestCase):
    def test_pending_and_later_actions_fail(self) -> None:
        self.start()
        self.network.answers["Slow"] = lambda _fields: None
        result = self.request("Slow")
        with capturedLogs() as logs:
            self.network.drop_connection()
        self.assertIn("no response from Asterisk to Slow", str(self.failureResultOf(result, AsteriskUnavailable).value))
        self.failureResultOf(self.request(), AsteriskUnavailable)
        self.assertEqual(self.listener.states, ["connected", "disconnected"])
        self.assertIn("the connection closed: Connection was closed cleanly", str(self.connection.problem))
        self.assertEqual(len(self.logged(logs)), 1)

    def test_it_reconnects_and_logs_in_again(self) -> None:
        self.start()
        self.network.drop_connection()
        self.advance(0.5)
        self.assertTrue(self.connection.ready)
        self.successResultOf(self.request())
        self.assertEqual(self.listener.states, ["connected", "disconnected", "connected"])

    def test_it_reconnects_at_once_when_asterisk_is_known_to_respond(self) -> None:
        self.network.refusing = True
        self.start()
        self.advance(1)
        self.advance(0.5)
        self.connection.retry_now()  # instead of at 3 s
        self.assertEqual(self.network.attempts, [0, 1, 1.5])
        self.advance(1)  # the back-off begins anew
        self.assertEqual(self.network.attempts, [0, 1, 1.5, 2.5])
        self.network.refusing = False
        self.connection.retry_now()
        self.network.flush()
        self.assertTrue(self.connection.ready)
        self.connection.retry_now()
        self.assertEqual(len(self.network.attempts), 5)
        self.assertTrue(self.connection.ready)

    def test_it_stops_while_connected(self) -> None:
        self.start()
        self.network.answers["Slow"] = lambda _fields: None
        result = self.request("Slow")
        with capturedLogs() as logs:
            self.stop()
        self.failureResultOf(result, AsteriskUnavailable)
        self.assertEqual(self.listener.states, ["connected", "disconnected"])
        self.assertFalse(self.connection.ready)
        self.assertEqual(self.logged(logs), [])

    def test_it_stops_during_the_login_and_during_a_delay(self) -> None:
        self.network.answers["Login"] = lambda _fields: None
        self.start()
        self.stop()
        self.network.refusing = True
        self.start()
        self.stop()
        self.assertEqual(self.listener.states, [])

    def test_it_can_be_started_again(self) -> None:
        self.start()
        self.stop()
        self.connection.startService()
        self.network.flush()
        self.assertTrue(self.connection.ready)


class EndpointTests(SynchronousTestCase):
    def test_addresses(self) -> None:
        reactor = MemoryReactorClock()
        for url, host, port in (
            ("tcp://127.0.0.1:5038", "127.0.0.1", 5038),
            ("tcp://[::1]", "::1", 5038),
            ("tcp://asterisk.example", "asterisk.example", 5038),
        ):
            endpoint = endpoint_for(reactor, url, 3)
            assert isinstance(endpoint, HostnameEndpoint)
            self.assertEqual((endpoint._hostText, endpoint._port), (host, port))

    def test_tls(self) -> None:
        self.assertNotIsInstance(endpoint_for(MemoryReactorClock(), "tls://asterisk.example", 3), HostnameEndpoint)
