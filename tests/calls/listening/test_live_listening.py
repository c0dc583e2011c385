"""Live listening to the calls of a process, with an Asterisk and UDP ports that the test controls."""

import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import numpy as np
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import DatagramProtocol
from twisted.trial.unittest import SynchronousTestCase

from tests.calls.fake_asterisk import INBOUND, ProcessFixture, ProfileDirectory, make_profile
from voxrec.ari import events
from voxrec.calls.channels.ids import owned_id
from voxrec.calls.listening.call_listeners import (
    CALL_ENDED,
    INTERRUPTED_AFTER,
    RENEWAL_DELAY,
    SILENCE_AFTER_PAUSE,
    CallListeners,
)
from voxrec.calls.listening.listener import Listener
from voxrec.calls.listening.live_listening import ListeningSettings, LiveListening, TooManyListeners
from voxrec.calls.listening.tap import RETRY_INTERVAL
from voxrec.calls.live_call import LiveCall
from voxrec.errors import AsteriskUnavailable, Conflict, NotFound, Unavailable
from voxrec.model import CallState, EventType, ListeningEvent, ListenSide, PauseBehavior, RecordingState, Side

SOURCE_PORT = 12000
SENT = 0x55  # a sample of mu-law that is not silence


class FakePort:
    """An open UDP port."""

    def __init__(self, number: int, ports: dict[int, DatagramProtocol]) -> None:
        self._number = number
        self._ports = ports

    def getHost(self) -> IPv4Address:
        return IPv4Address("UDP", "127.0.0.1", self._number)

    def stopListening(self) -> Deferred[None]:
        del self._ports[self._number]
        return succeed(None)


class FakeUdp:
    """Opens UDP ports; ``ports`` are those that are open."""

    def __init__(self) -> None:
        self.ports: dict[int, DatagramProtocol] = {}
        self.interfaces: list[str] = []
        self.error: CannotListenError | None = None

    def listenUDP(  # noqa: N802
        self, port: int, protocol: DatagramProtocol, interface: str, maxPacketSize: int
    ) -> Any:
        if self.error is not None:
            raise self.error
        number = 40000 + len(self.interfaces)
        self.interfaces.append(interface)
        self.ports[number] = protocol
        return FakePort(number, self.ports)


class ListeningTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.process = ProcessFixture(ProfileDirectory(make_profile(), None))
        self.clock, self.asterisk = self.process.clock, self.process.asterisk
        self.asterisk.variables["UNICASTRTP_LOCAL_ADDRESS"] = "127.0.0.1"
        self.asterisk.variables["UNICASTRTP_LOCAL_PORT"] = str(SOURCE_PORT)
        self.asterisk.variables["CHANNEL(audionativeformat)"] = "(ulaw)"
        self.udp = FakeUdp()
        self.listening = LiveListening(
            self.clock, self.udp, self.process.client, self.process.live_calls, ListeningSettings(enabled=True)
        )
        self.published: list[ListeningEvent] = []
        self.listening.publish = self.published.append
        self.asterisk.on_snoop = self.channel_entered
        self.call = self.process.live_calls.open(INBOUND, make_profile())
        self.call.data.status = CallState.TALKING
        self.sequence = 0
        self.asterisk.take_requests()

    def channel_entered(self, channel: str) -> None:
        """Send the StasisStart of a snoop channel, and of the channel that sends its audio."""
        for id_ in (channel, channel.replace("-snoop", "-sender")):
            self.listening.event_received(events.StasisStart(events.Channel(id=id_)))

    def channel_gone(self, channel: str) -> None:
        self.listening.event_received(events.StasisEnd(events.Channel(id=channel)))

    def begin(self, side: ListenSide = ListenSide.BOTH, call: LiveCall | None = None) -> Deferred[Listener]:
        call_id = (call or self.call).id
        return Deferred.fromCoroutine(self.listening.listen(call_id, "anna", side, uuid4()))

    def listen(self, side: ListenSide = ListenSide.BOTH) -> Listener:
        listener = self.successResultOf(self.begin(side))
        self.read(listener)  # the header
        return listener

    def read(self, listener: Listener) -> list[int]:
        """Return the first sample of each frame that a listener hears."""
        part = self.successResultOf(Deferred.fromCoroutine(listener.__anext__()))
        first: list[int] = np.frombuffer(part, "<i2")[::320].tolist()
        return first

    def talk(self, frames: int = 3, source: tuple[str, int] = ("127.0.0.1", SOURCE_PORT)) -> None:
        """Send frames to all open ports, from Asterisk or another source."""
        for _ in range(frames):
            self.sequence += 1
            header = struct.pack("!BBHII", 0x80, 0, self.sequence, 0, 1)
            for port in tuple(self.udp.ports.values()):
                port.datagramReceived(header + bytes([SENT] * 160), source)

    @property
    def requests(self) -> list[str]:
        """The requests since the last time, with the ids of this call shortened."""
        key = self.listening._by_call[self.call.id]._key if self.call.id in self.listening._by_call else "?"
        return [
            request.replace(f"voxrec-{self.call.id}-listen-{key}-", "").replace(self.call.leg, "LEG")
            for request in self.asterisk.take_requests()
        ]

    def deleted(self) -> list[str]:
        """Return the kinds of what was removed from Asterisk since the last time."""
        requests = self.asterisk.take_requests()
        return sorted(request.rpartition("-")[2] for request in requests if request.startswith("DELETE"))

    def renew(self) -> None:
        self.clock.advance(RETRY_INTERVAL)

    REMOVED = sorted(["snoop", "sender", "bridge"] * 2)


class StartTests(ListeningTestCase):
    def test_what_is_created_in_asterisk(self) -> None:
        self.listen()
        requests = self.requests
        for side, spy in (("caller", "out"), ("callee", "in")):
            snoop = next(each for each in requests if each.startswith("POST channels/LEG/snoop/") and side in each)
            self.assertEqual(snoop, f"POST channels/LEG/snoop/1-{side}-snoop")
            full = next(key for key in self.asterisk.queries if key.endswith(f"{side}-snoop"))
            self.assertEqual(
                (self.asterisk.queries[full]["spy"], self.asterisk.queries[full]["whisper"]), (spy, "none")
            )
            self.assertIn(f"POST bridges/1-{side}-bridge", requests)
            self.assertIn(f"POST bridges/1-{side}-bridge/addChannel", requests)
        media = self.asterisk.queries["POST channels/externalMedia"]
        self.assertEqual((media["format"], media["external_host"]), ("ulaw", "127.0.0.1:40001"))
        self.assertEqual(self.udp.interfaces, ["127.0.0.1", "127.0.0.1"])

    def test_wideband(self) -> None:
        self.asterisk.variables["CHANNEL(audionativeformat)"] = "(g722)"
        self.assertEqual(self.listen().rate, 16000)
        self.assertEqual(self.asterisk.queries["POST channels/externalMedia"]["format"], "slin16")

    def test_another_address(self) -> None:
        self.listening.settings = ListeningSettings(enabled=True, address="2001:db8::1")
        self.listen()
        self.assertEqual(self.udp.interfaces, ["::", "::"])
        host = self.asterisk.queries["POST channels/externalMedia"]["external_host"]
        self.assertEqual(host, "[2001:db8::1]:40001")

    def test_audio(self) -> None:
        listener = self.listen()
        for stranger in (("127.0.0.1", SOURCE_PORT + 1), ("192.0.2.66", SOURCE_PORT)):
            self.talk(source=stranger)
            self.assertEqual(len(listener._frames), 0, stranger)
        self.talk()
        heard = self.read(listener)
        self.assertEqual(len(heard), 3)
        self.assertNotIn(0, heard)

    def test_further_listeners_share_it(self) -> None:
        first = self.listen()
        self.asterisk.take_requests()
        second = self.listen()
        self.assertEqual(self.asterisk.take_requests(), [])
        self.talk()
        self.assertEqual(len(self.read(first)), len(self.read(second)))
        first.close()
        self.assertEqual(self.asterisk.take_requests(), [])
        second.close()
        self.assertEqual(self.deleted(), self.REMOVED)
        self.assertEqual(self.udp.ports, {})

    def test_calls_that_cannot_be_heard(self) -> None:
        self.failureResultOf(
            Deferred.fromCoroutine(self.listening.listen(uuid4(), "anna", ListenSide.BOTH, uuid4())), NotFound
        )
        for state in (CallState.RINGING, CallState.CONNECTING, CallState.CLEARING):
            self.call.data.status = state
            self.failureResultOf(self.begin(), Conflict)
        self.assertEqual((self.asterisk.take_requests(), self.published), ([], []))

    def test_limits(self) -> None:
        self.listening.settings = ListeningSettings(enabled=True, max_listeners=3, max_listeners_per_call=2)
        listeners = [self.listen(), self.listen()]
        self.assertIn("per_call", str(self.failureResultOf(self.begin(), TooManyListeners).value))
        other = self.process.live_calls.open(INBOUND, make_profile())
        other.data.status = CallState.TALKING
        self.successResultOf(self.begin(call=other))
        self.assertEqual(self.listening.count, 3)
        self.assertIn("node", str(self.failureResultOf(self.begin(call=other), TooManyListeners).value))
        listeners[0].close()
        self.listen()

    def test_listeners_that_wait_for_audio_count(self) -> None:
        self.listening.settings = ListeningSettings(enabled=True, max_listeners_per_call=1)
        self.asterisk.delayed = {"externalMedia"}
        waiting = self.begin()
        self.failureResultOf(self.begin(), TooManyListeners)
        self.asterisk.respond()
        self.successResultOf(waiting)

    def test_asterisk_refuses(self) -> None:
        self.asterisk.lost = {"externalMedia"}
        waiting = self.begin(), self.begin()
        for each in waiting:
            self.failureResultOf(each, AsteriskUnavailable)
        self.assertEqual(self.deleted(), sorted(self.REMOVED * 2))
        self.assertEqual((self.listening.count, self.published), (0, []))
        self.assertEqual(self.udp.ports, {})
        self.asterisk.lost = set()
        self.listen()

    def test_asterisk_without_the_module(self) -> None:
        self.asterisk.errors = {"channels/externalMedia": 500}
        self.assertIn("chan_rtp.so", str(self.failureResultOf(self.begin(), Unavailable).value))

    def test_the_far_end_hangs_up_meanwhile(self) -> None:
        self.asterisk.errors = {"-snoop": 404}
        self.failureResultOf(self.begin(), Conflict)

    def test_asterisk_does_not_say_from_where_it_sends(self) -> None:
        for name in ("UNICASTRTP_LOCAL_ADDRESS", "UNICASTRTP_LOCAL_PORT"):
            with self.subTest(name):
                value, self.asterisk.variables[name] = self.asterisk.variables[name], ""
                self.failureResultOf(self.begin(), AsteriskUnavailable)
                self.assertEqual((self.deleted(), self.udp.ports), (self.REMOVED, {}))
                self.asterisk.variables[name] = value

    def test_an_ipv6_source(self) -> None:
        self.listening.settings = ListeningSettings(enabled=True, address="fe80::1")
        self.asterisk.variables["UNICASTRTP_LOCAL_ADDRESS"] = "fe80:0::2%eth0"
        listener = self.listen()
        self.talk(source=("fe80::2", SOURCE_PORT))
        self.assertEqual(len(self.read(listener)), 3)

    def test_no_udp_port(self) -> None:
        self.udp.error = CannotListenError("127.0.0.1", 0, OSError("no file descriptor"))
        self.assertIn("UDP", str(self.failureResultOf(self.begin()).value))
        self.assertEqual(self.listening.count, 0)

    def test_the_call_ends_before_there_is_audio(self) -> None:
        self.asterisk.delayed = {"externalMedia"}
        waiting = self.begin()
        self.listening._by_call[self.call.id].end_all(CALL_ENDED)
        self.assertIn(CALL_ENDED, str(self.failureResultOf(waiting, Conflict).value))
        self.assertEqual(self.deleted(), [], "what is being created can be removed afterwards only")
        self.asterisk.respond()
        self.assertEqual(self.deleted(), self.REMOVED)

    def test_notice(self) -> None:
        played: list[tuple[str, str]] = []
        self.call.confirmations.play = lambda side, media: played.append((side, media))  # type: ignore[method-assign]
        self.listen()
        self.assertEqual(played, [])
        self.listening.settings = ListeningSettings(enabled=True, notice="sound:beep")
        self.listen()
        self.assertEqual(played, [("caller", "sound:beep"), ("callee", "sound:beep")])

    def test_who_has_replaced_the_caller_hears_the_notice(self) -> None:
        self.call.data.inbound = replace(INBOUND, channel="1700.5")
        self.listening.settings = ListeningSettings(enabled=True, notice="sound:beep")
        self.listen()
        snooped = {each.split("/")[1] for each in self.asterisk.take_requests() if "-confirm-" in each}
        self.assertEqual(snooped, {"1700.5", self.call.leg})


class ReportTests(ListeningTestCase):
    def test_events_and_listeners_of_a_call(self) -> None:
        self.process.control.listeners_of = self.listening.of_call
        listener = self.listen(ListenSide.CALLER)
        self.assertEqual(self.process.control.get_call(self.call.id).listeners, (listener.listening,))
        self.clock.advance(12.0)
        listener.close()
        self.assertEqual(self.process.control.list_calls()[0].listeners, ())
        started, ended = self.published
        self.assertEqual([started.type, ended.type], ["listener.joined", "listener.left"])
        self.assertEqual((started.data.who, started.data.call_id, started.data.seconds), ("anna", self.call.id, None))
        self.assertEqual((ended.data.seconds, ended.data.reason), (12.0, "the client has disconnected"))
        self.assertEqual((ended.profile_id, ended.data.id), (self.call.profile.id, started.data.id))


class PauseTests(ListeningTestCase):
    def record(self) -> None:
        self.call.core.recording.prepare()
        self.call.core.recording.begin()
        self.process.files.create(self.call)
        assert self.call.recorder is not None
        self.assertEqual(self.call.recorder.recording.state, RecordingState.RECORDING)

    def heard(self, listener: Listener) -> bool:
        """Return whether a listener hears what is said now."""
        self.talk()
        heard = self.read(listener)
        self.assertEqual(len(heard), 3)
        self.assertEqual(len({sample == 0 for sample in heard}), 1)
        return heard[0] != 0

    def test_a_pause_is_silent(self) -> None:
        self.record()
        listener = self.listen()
        self.assertTrue(self.heard(listener))
        self.asterisk.delayed = {"MixMonitorMute"}
        pausing = Deferred.fromCoroutine(self.call.pause(PauseBehavior.SILENCE, None))
        self.assertFalse(self.heard(listener), "from the request on, not only when Asterisk has confirmed it")
        self.asterisk.respond()
        self.successResultOf(pausing)
        self.clock.advance(SILENCE_AFTER_PAUSE + 1)
        self.assertFalse(self.heard(listener))
        self.successResultOf(Deferred.fromCoroutine(self.call.resume()))
        self.assertFalse(self.heard(listener), "what was said in the pause is still on its way")
        self.clock.advance(SILENCE_AFTER_PAUSE)
        self.assertTrue(self.heard(listener))

    def test_by_the_settings_a_pause_is_heard(self) -> None:
        self.listening.settings = ListeningSettings(enabled=True, silent_in_pauses=False)
        self.record()
        listener = self.listen()
        self.successResultOf(Deferred.fromCoroutine(self.call.pause(PauseBehavior.SILENCE, None)))
        self.assertTrue(self.heard(listener))

    def test_who_begins_to_listen_in_a_pause_hears_nothing(self) -> None:
        self.record()
        self.successResultOf(Deferred.fromCoroutine(self.call.pause(PauseBehavior.SILENCE, None)))
        self.assertFalse(self.heard(self.listen()))


class InterruptionTests(ListeningTestCase):
    def keep_talking(self, seconds: int) -> None:
        for _ in range(seconds):
            self.talk()
            self.clock.advance(1)

    def snoop_of(self, attempt: int) -> str:
        key = self.listening._by_call[self.call.id]._key
        return owned_id(self.call.id, f"listen-{key}-{attempt}-caller-snoop")

    def test_a_transfer(self) -> None:
        listener = self.listen()
        former = self.call.leg
        self.asterisk.take_requests()
        self.call._legs.use_channel("1700.9", "PJSIP/trunk-9")
        self.channel_gone(self.snoop_of(1))  # with the channel of the former far end
        self.assertEqual(self.deleted(), self.REMOVED)
        self.renew()
        requests = self.asterisk.take_requests()
        self.assertTrue(any(each.startswith("POST channels/1700.9/snoop/") for each in requests), requests)
        self.assertFalse(any(former in each for each in requests))
        self.talk()
        self.assertEqual(len(self.read(listener)), 3)
        self.assertFalse(listener.has_ended)

    def test_no_audio(self) -> None:
        listener = self.listen()
        self.keep_talking(5)
        self.assertEqual(self.deleted(), [])
        self.clock.advance(INTERRUPTED_AFTER)
        self.clock.advance(1)
        self.assertEqual(self.deleted(), self.REMOVED)
        self.renew()
        self.keep_talking(1)
        self.assertFalse(listener.has_ended)

    def test_decoders_are_renewed_where_they_drop_late_audio(self) -> None:
        announcement = events.Playback(id=owned_id(self.call.id, "announcement"))
        for happened in (
            events.PlaybackFinished(announcement),
            events.ChannelUnhold(events.Channel(id=INBOUND.channel)),
            events.StasisStart(events.Channel(id="1700.5"), (), events.Channel(id=INBOUND.channel)),
        ):
            for drops in (False, True):
                self.process.client._drops_late_audio = drops
                listener = self.listen()
                self.deleted()
                self.listening.event_received(happened)
                self.assertEqual(self.deleted(), [])
                self.clock.advance(RENEWAL_DELAY)
                self.assertEqual(self.deleted(), self.REMOVED if drops else [], happened)
                self.renew()
                listener.close()
                self.deleted()

    def test_events_of_other_channels(self) -> None:
        self.listen()
        self.deleted()
        for happened in (
            events.StasisEnd(events.Channel(id="1700.77")),
            events.ChannelDestroyed(events.Channel(id=owned_id(self.call.id, "leg9"))),
            events.PlaybackFinished(events.Playback(id=owned_id(uuid4(), "announcement"))),
            events.ChannelUnhold(events.Channel(id="1700.77")),
        ):
            self.listening.event_received(happened)
        self.clock.advance(RENEWAL_DELAY)
        self.assertEqual(self.deleted(), [])


class EndTests(ListeningTestCase):
    def assert_over(self, listener: Listener, reason: str) -> None:
        self.assertEqual(listener.reason, reason)
        self.assertEqual((self.deleted(), self.udp.ports, self.listening.count), (self.REMOVED, {}, 0))

    def test_the_call_ends(self) -> None:
        listener = self.listen()
        self.call.inputs.detach()
        self.process.live_calls.forget([self.call])
        self.asterisk.take_requests()
        self.clock.advance(1)
        self.assert_over(listener, CALL_ENDED)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_another_process_has_the_calls(self) -> None:
        listener = self.listen()
        self.process.live_calls.detach_all()
        self.asterisk.take_requests()
        self.clock.advance(1)
        self.assert_over(listener, CALL_ENDED)

    def test_channels_enter_while_all_requests_fail(self) -> None:
        # the listeners of both calls are removed within the events that they handle
        other = self.process.live_calls.open(INBOUND, make_profile())
        other.data.status = CallState.TALKING
        self.asterisk.on_snoop = lambda _channel: None
        waiting = self.begin(), self.begin(call=other)
        channels = [channel for listeners in self.listening._all for channel in self.channels_of(listeners)]
        self.asterisk.lost = {"variable", "addChannel", *channels, *(self.bridge_of(each) for each in channels)}
        for channel in channels:
            self.listening.event_received(events.StasisStart(events.Channel(id=channel)))
        for each in waiting:
            self.failureResultOf(each, AsteriskUnavailable)
        self.assertEqual((self.flushLoggedErrors(), self.listening._all), ([], set()))

    def channels_of(self, listeners: CallListeners) -> list[str]:
        (audio,) = listeners._in_asterisk
        return [channel for side in audio._sides for channel in (side.snoop, side.sender)]

    def bridge_of(self, channel: str) -> str:
        return f"{channel.rpartition('-')[0]}-bridge"

    def test_a_defect_of_listening_does_not_reach_the_call(self) -> None:
        class Defect(Exception):
            pass

        def fail(_listener: Listener) -> None:
            raise Defect

        self.listening.count_ended = fail
        self.listen()
        self.process.live_calls.publish(EventType.CALL_ENDED, self.call)
        self.assertEqual(len(self.flushLoggedErrors(Defect)), 1)
        self.call._legs.use_channel("1700.9", "PJSIP/trunk-9")
        listener = self.listen()
        self.patch(CallListeners, "channel_gone", lambda _self, _channel: fail(listener))
        self.listening.event_received(events.StasisEnd(events.Channel(id="1700.9")))
        self.assertEqual(len(self.flushLoggedErrors(Defect)), 1)

    def test_nobody_begins_to_listen_while_voxrec_stops(self) -> None:
        self.successResultOf(self.listening.stopService())
        self.failureResultOf(self.begin(), Unavailable)
        self.assertEqual((self.asterisk.take_requests(), self.udp.ports), ([], {}))

    def test_stop(self) -> None:
        listener = self.listen()
        self.asterisk.take_requests()
        self.asterisk.delayed = {request.rpartition("/")[2] for request in self.asterisk.queries if "bridge" in request}
        stopped = self.listening.stopService()
        self.assertNoResult(stopped)
        self.asterisk.respond()
        self.successResultOf(stopped)
        self.assert_over(listener, "voxrec is stopping")

    def test_a_notice_of_another_process_is_an_orphan(self) -> None:
        owns = self.process.live_calls.owns
        self.assertFalse(owns(owned_id(self.call.id, "confirm-caller-1700000000000-0")), "its tone would not end")
        self.asterisk.delayed = {"play"}
        self.call.confirmations.play(Side.CALLER, "tone:1500")
        (role,) = self.call.confirmations._whispering
        self.assertTrue(owns(owned_id(self.call.id, role)))
        self.call.confirmations.playback_finished(role)
        self.assertFalse(owns(owned_id(self.call.id, role)))

    def test_what_is_in_use_is_no_orphan(self) -> None:
        owns: Callable[[str], bool] = self.process.live_calls.owns
        of_another_process = owned_id(self.call.id, "listen-0badcafe-1-caller-sender")
        listener = self.listen()
        key = self.listening._by_call[self.call.id]._key
        own = [
            owned_id(self.call.id, f"listen-{key}-1-{side}-{kind}")
            for side in ("caller", "callee")
            for kind in ("snoop", "sender", "bridge")
        ]
        self.assertEqual([object_id for object_id in own if not owns(object_id)], [])
        self.assertFalse(owns(of_another_process))
        self.assertFalse(owns(owned_id(UUID(int=5), "leg")))
        listener.close()
        self.assertEqual([object_id for object_id in own if owns(object_id)], [])
