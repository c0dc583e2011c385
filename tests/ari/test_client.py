"""Tests of voxrec.ari.client: the requests of each method, and the transport they use."""

import json

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.trial.unittest import SynchronousTestCase

from tests.ari.fakes import FakeTransport
from voxrec.ari.client import AriClient
from voxrec.ari.rtp_statistics import RtpStatistics
from voxrec.ari.transport import AriResponseError, Transport


class AriClientTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.http = FakeTransport()
        self.client = AriClient(self.http, "voxrec")

    def detect_capabilities(self, channels_api: bytes = b"{}", version: str = "22.10.0") -> str:
        self.http.responses["GET asterisk/info"] = b'{"system": {"version": "%s"}}' % version.encode()
        self.http.responses["GET api-docs/channels.json"] = channels_api
        detected = self.successResultOf(ensureDeferred(self.client.detect_capabilities()))
        self.http.requests.clear()
        return detected


class TransportTests(AriClientTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.websocket = FakeTransport()

    def test_requests_use_http_until_there_is_a_faster_transport(self) -> None:
        self.client.answer("1.1")
        self.assertFalse(self.client.executes_in_order)
        self.client.use_transport(self.websocket)
        self.client.answer("1.2")
        self.assertTrue(self.client.executes_in_order)
        self.client.use_http()
        self.client.answer("1.3")
        self.assertFalse(self.client.executes_in_order)
        self.assertEqual([request for request, *_ in self.websocket.requests], ["POST channels/1.2/answer"])
        self.assertEqual(
            [request for request, *_ in self.http.requests], ["POST channels/1.1/answer", "POST channels/1.3/answer"]
        )

    def test_each_transport_is_instrumented_once_with_its_name(self) -> None:
        names: list[str] = []

        def instrument(name: str, transport: Transport) -> Transport:
            names.append(name)
            return transport

        client = AriClient(self.http, "voxrec", instrument)
        client.use_transport(self.websocket)
        self.assertEqual(names, ["http", "websocket"])


class CommandTests(AriClientTestCase):
    def test_the_request_is_sent_at_once(self) -> None:
        result = self.client.dial("leg", caller="1.1", timeout=20)
        self.assertIsInstance(result, Deferred)
        self.assertEqual(self.http.requests, [("POST channels/leg/dial", {"caller": "1.1", "timeout": "20"}, None)])

    def test_a_created_channel_enters_the_application(self) -> None:
        self.client.create_channel("leg", "PJSIP/x", "leg", originator="1.1", variables={"A": "b"})
        query = {
            "endpoint": "PJSIP/x",
            "app": "voxrec",
            "appArgs": "leg",
            "channelId": "leg",
            "originator": "1.1",
        }
        self.assertEqual(self.http.requests, [("POST channels/create", query, {"variables": {"A": "b"}})])

    def test_a_bridge_whose_media_asterisk_may_forward_or_must_process(self) -> None:
        self.client.create_bridge("a", "call a")
        self.client.create_bridge("b", "call b", media="processed")
        self.assertEqual(
            self.http.requests,
            [
                ("POST bridges/a", {"type": "mixing", "name": "call a"}, None),
                ("POST bridges/b", {"type": "mixing,proxy_media", "name": "call b"}, None),
            ],
        )

    def test_the_event_filter_names_the_allowed_types(self) -> None:
        self.client.set_event_filter(["StasisStart", "ChannelHold"])
        body = {"allowed": [{"type": "ChannelHold"}, {"type": "StasisStart"}]}
        self.assertEqual(self.http.requests, [("PUT applications/voxrec/eventFilter", {}, body)])

    def test_the_language_of_a_playback_is_optional(self) -> None:
        self.client.play_to_bridge("bridge", "playback", "sound:x", language="de")
        self.client.play_to_channel("1.1", "playback", "sound:x")
        self.assertEqual(
            self.http.requests,
            [
                ("POST bridges/bridge/play/playback", {"media": "sound:x", "lang": "de"}, None),
                ("POST channels/1.1/play/playback", {"media": "sound:x"}, None),
            ],
        )


REFUSE_486 = {"context": "voxrec-refuse", "extension": "486*17", "priority": "1"}


class HangUpTests(AriClientTestCase):
    def query_of_hang_up(self, cause: int) -> dict[str, str]:
        self.http.requests.clear()
        self.assertTrue(self.successResultOf(self.client.hang_up("1.1", cause)))
        [(_, query, _)] = self.http.requests
        return query

    def test_an_asterisk_with_cause_codes(self) -> None:
        self.assertEqual(self.detect_capabilities(b'{"name": "reason_code"}'), "22.10.0")
        self.assertEqual(self.query_of_hang_up(3), {"reason_code": "3"})

    def test_an_older_asterisk_has_only_named_causes(self) -> None:
        self.detect_capabilities()
        self.assertEqual(self.query_of_hang_up(17), {"reason": "busy"})
        self.assertEqual(self.query_of_hang_up(3), {"reason": "normal"})

    def test_a_refused_channel_that_is_in_a_bridge_keeps_its_cause(self) -> None:
        """Leaving the bridge may change it; the dialplan sets it afterwards."""
        requests = {
            False: ("DELETE channels/1.1", {"reason": "busy"}),
            True: ("POST channels/1.1/continue", REFUSE_486),
        }
        for in_bridge, expected in requests.items():
            self.http.requests.clear()
            self.client.refuse("1.1", 486, 17, nearest=17, in_bridge=in_bridge)
            self.assertEqual([request[:2] for request in self.http.requests], [expected])

    def test_a_channel_that_does_not_exist(self) -> None:
        self.http.responses["DELETE channels/1.1"] = 404
        self.assertFalse(self.successResultOf(self.client.hang_up("1.1", 16)))

    def test_a_destroyed_bridge_that_asterisk_16_still_lists(self) -> None:
        request = "DELETE bridges/b"
        self.http.responses[request] = AriResponseError(request, 409, "Bridge not in Stasis application")
        self.assertFalse(self.successResultOf(self.client.destroy_bridge("b")))

    def test_other_errors_are_raised(self) -> None:
        self.http.responses["DELETE channels/1.1"] = 500
        self.failureResultOf(self.client.hang_up("1.1", 16), AriResponseError)


class WakeUpTests(AriClientTestCase):
    def test_versions_in_which_a_command_wakes_a_channel_without_a_bridge(self) -> None:
        for version in ("18.25.0", "20.10.0", "20.20.1", "21.5.0", "22.0.0", "23.3.0", "GIT-master-a824a0c"):
            self.detect_capabilities(version=version)
            self.assertTrue(self.client.wakes_channels, version)
        for version in ("16.28.0~dfsg", "18.24.3", "19.8.1", "20.9.3", "21.4.3", "certified-20.7-cert1"):
            self.detect_capabilities(version=version)
            self.assertFalse(self.client.wakes_channels, version)


class DecoderTests(AriClientTestCase):
    def test_versions_whose_decoders_drop_late_audio(self) -> None:
        for version in ("22.10.1+dfsg+~cs6.17.60671434-1", "20.6.0~dfsg+~cs6.13.40431414-2build5"):
            self.detect_capabilities(version=version)
            self.assertTrue(self.client.drops_late_audio, version)
        for version in (
            *("22.10.1", "16.28.0~dfsg", "20.5.0~dfsg", "GIT-master-a824a0c"),
            *("22.10.1+dfsg+~cs6.17.60671434-1+0noplc1", "20.6.0~dfsg+~cs6.13.40431414-2build5+0noplc1"),
        ):
            self.detect_capabilities(version=version)
            self.assertFalse(self.client.drops_late_audio, version)


class QueryTests(AriClientTestCase):
    def test_rtp_statistics(self) -> None:
        statistics = {"txcount": 7, "rxcount": 250, "rxjitter": 0.004, "rxploss": 3, "remote_ssrc": 3735928559}
        self.http.responses["GET channels/1.1/rtp_statistics"] = json.dumps(statistics).encode()
        expected = RtpStatistics(rxcount=250, rxploss=3, remote_ssrc=3735928559)
        self.assertEqual(self.successResultOf(ensureDeferred(self.client.rtp_statistics("1.1"))), expected)
        for status in (403, 404):
            self.http.responses["GET channels/2.1/rtp_statistics"] = status
            self.assertEqual(self.successResultOf(ensureDeferred(self.client.rtp_statistics("2.1"))), RtpStatistics())
        self.http.responses["GET channels/2.1/rtp_statistics"] = 500
        self.failureResultOf(ensureDeferred(self.client.rtp_statistics("2.1")), AriResponseError)

    def test_objects_that_do_not_exist(self) -> None:
        self.http.responses.update(
            {
                "GET applications/voxrec": 404,
                "GET channels/1.1/variable": 404,
                "GET playbacks/playback": 404,
            }
        )
        client = self.client
        self.assertEqual(self.successResultOf(ensureDeferred(client.application_channels())), [])
        self.assertEqual(self.successResultOf(ensureDeferred(client.get_variable("1.1", "A"))), "")
        self.assertFalse(self.successResultOf(client.playback_exists("playback")))

    def test_other_errors_are_raised(self) -> None:
        self.http.responses.update({"GET applications/voxrec": 500, "GET channels/1.1/variable": 500})
        for query in (
            self.client.application_channels(),
            self.client.get_variable("1.1", "A"),
        ):
            self.failureResultOf(ensureDeferred(query), AriResponseError)

    def test_lists(self) -> None:
        self.http.responses["GET channels"] = b'[{"id": "1.1", "state": "Up"}]'
        self.http.responses["GET bridges"] = b'[{"id": "b", "channels": ["1.1"]}]'
        self.assertEqual([channel.id for channel in self.successResultOf(self.client.list_channels())], ["1.1"])
        self.assertEqual([bridge.channels for bridge in self.successResultOf(self.client.list_bridges())], [("1.1",)])
