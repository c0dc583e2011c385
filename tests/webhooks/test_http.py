"""Tests of voxrec.webhooks.http and voxrec.webhooks.connection, against real servers on loopback."""

import gzip
import socket
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from unittest import mock

from tests.database import reactor, until
from tests.webhooks.receivers import LOOPBACK, ReceiverTestCase, call_directly
from voxrec.errors import DeliveryError
from voxrec.limited_connection import MAX_RECEIVED
from voxrec.webhooks.addresses import AddressPolicy
from voxrec.webhooks.connection import resolver
from voxrec.webhooks.http import HttpClient

HEADERS = {"Content-Type": "application/json", "webhook-id": "1"}


class HttpTestCase(ReceiverTestCase):
    async def error_of(self, client: HttpClient, url: str) -> DeliveryError:
        try:
            await client.post(url, HEADERS, b"{}")
        except DeliveryError as error:
            return error
        raise AssertionError(f"{url} answered")


class HonestReceiverTests(HttpTestCase):
    async def test_http(self) -> None:
        receiver, url = await self.start_receiver()
        reply = await self.client().post(f"{url}?key=1#part", HEADERS, b'{"type":"x"}')
        self.assertEqual((reply.status, reply.text, reply.retry_after), (200, "thanks", 0.0))
        (request,) = receiver.requests
        self.assertEqual((request.method, request.path, request.body), ("POST", "/hook?key=1", b'{"type":"x"}'))
        self.assertEqual(request.headers["content-type"], "application/json")
        self.assertEqual(request.headers["content-length"], "12")

    async def test_https_with_a_certificate_of_a_private_authority(self) -> None:
        certificate = self.certificate()
        _, url = await self.start_receiver(certificate.context)
        self.assertEqual((await self.client(ca_file=certificate.ca_file).post(url, HEADERS, b"{}")).status, 200)

    async def test_an_unknown_certificate_is_refused(self) -> None:
        receiver, url = await self.start_receiver(self.certificate().context)
        error = await self.error_of(self.client(), url)
        self.assertIn("certificate verify failed", error.detail)
        self.assertFalse(error.permanent)
        self.assertEqual(receiver.requests, [])

    async def test_a_certificate_of_another_host_is_refused(self) -> None:
        certificate = self.certificate("other.example")
        receiver, url = await self.start_receiver(certificate.context)
        error = await self.error_of(self.client(ca_file=certificate.ca_file), url)
        self.assertIn("VerificationError", error.detail)
        self.assertEqual(receiver.requests, [])

    async def test_a_changed_file_of_certificates_is_read_when_the_settings_are_reloaded(self) -> None:
        certificate = self.certificate()
        _, url = await self.start_receiver(certificate.context)
        client = self.client()
        await self.error_of(client, url)
        client.configure(self.client(ca_file=certificate.ca_file)._settings)
        self.assertEqual((await client.post(url, HEADERS, b"{}")).status, 200)

    async def test_retry_after(self) -> None:
        receiver, url = await self.start_receiver()
        now = datetime.now(UTC)
        receiver.status = 503
        for value, low, high in (
            ("120", 120, 120),
            (format_datetime(now + timedelta(seconds=90), usegmt=True), 80, 91),
            (format_datetime(now - timedelta(seconds=90), usegmt=True), 0, 0),
            ("9999999999999999999", 86400, 86400),
            ("Fri, 31 Dec 9999 23:59:59 GMT", 86400, 86400),
            ("Fri, 31 Dec 1999 23:59:59 +999999999999999", 0, 0),
            ("soon", 0, 0),
            ("-5", 0, 0),
        ):
            receiver.headers = {"Retry-After": value}
            delay = (await self.client().post(url, HEADERS, b"{}")).retry_after
            self.assertTrue(low <= delay <= high, (value, delay))

    async def test_a_redirect_is_not_followed(self) -> None:
        other, target = await self.start_receiver()
        receiver, url = await self.start_receiver()
        for location in (target, "http://169.254.169.254/latest/meta-data/"):
            receiver.status, receiver.headers = 302, {"Location": location}
            self.assertEqual((await self.client().post(url, HEADERS, b"{}")).status, 302)
        self.assertEqual(other.requests, [])

    async def test_the_reply_is_one_printable_line(self) -> None:
        receiver, url = await self.start_receiver()
        receiver.reply = b"bad\r\nrequest \x1b[31m\xff" + b"x" * 5000
        text = (await self.client().post(url, HEADERS, b"{}")).text
        self.assertTrue(text.startswith("bad request \\x1b[31m\ufffd"), text)
        self.assertLessEqual(len(text), 500)


class HostileReceiverTests(HttpTestCase):
    """Each receiver gets a bounded time and a bounded number of bytes, and leaves no connection behind."""

    async def require_closed(self) -> None:
        await until(lambda: not self.tracking.protocols)

    async def test_endless_body(self) -> None:
        url = await self.start_hostile(b"HTTP/1.1 200 OK\r\n\r\n", endless=b"x" * 65536)
        reply = await self.client().post(url, HEADERS, b"{}")
        self.assertEqual(reply.status, 200)
        await self.require_closed()

    async def test_body_that_does_not_arrive(self) -> None:
        url = await self.start_hostile(b"HTTP/1.1 503 Busy\r\nContent-Length: 1000\r\n\r\nwait")
        self.assertEqual((await self.client(timeout=2).post(url, HEADERS, b"{}")).status, 503)
        await self.require_closed()

    async def test_trailer_of_a_body_in_chunks_that_does_not_end(self) -> None:
        chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nthanks\r\n0\r\nX-Trailer: 1\r\n"
        for endless in (b"", b"X-Padding: 0123456789\r\n" * 1000):
            url = await self.start_hostile(chunks, endless=endless)
            reply = await self.client(timeout=1).post(url, HEADERS, b"{}")
            self.assertEqual((reply.status, reply.text), (200, "thanks"))
            await self.require_closed()

    async def test_compressed_body_is_not_unpacked(self) -> None:
        bomb = gzip.compress(bytes(64_000_000))
        head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
        reply = await self.client().post(await self.start_hostile(head + bomb), HEADERS, b"{}")
        self.assertEqual(reply.status, 200)
        self.assertLessEqual(len(reply.text), 500)
        await self.require_closed()

    async def test_old_and_odd_responses(self) -> None:
        """What follows a response without a body is ignored, and a status that was not asked for is not a success."""
        for response, status in (
            (b"HTTP/1.0 200 OK\r\n\r\nthanks", 200),
            (b"HTTP/1.1 204 No Content\r\nContent-Length: 6\r\n\r\nthanks", 204),
            (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 6\r\n\r\nthanks", 304),
            (b"HTTP/1.1 302 Found\r\nLocation: /hook\r\nContent-Length: 0\r\n\r\n", 302),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nContent-Length: 7\r\n\r\nthanks", None),
            (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n", None),
            (b"HTTP/1.1 999 Odd\r\n\r\n", None),
            (b"HTTP/1.1 -1 Odd\r\n\r\n", None),
            (b"HTTP/1.1 20000000000000000000 OK\r\n\r\n", None),  # PostgreSQL could not store it
            (b"HTTP/2 200\r\n\r\n", None),
        ):
            url = await self.start_hostile(response, close="close")
            if status is None:
                error = await self.error_of(self.client(timeout=2), url)
                self.assertFalse(error.permanent, response)
                self.assertTrue(error.detail.isprintable(), response)
            else:
                self.assertEqual((await self.client(timeout=2).post(url, HEADERS, b"{}")).status, status, response)
            await self.require_closed()

    async def test_endless_headers(self) -> None:
        url = await self.start_hostile(b"HTTP/1.1 200 OK\r\n", endless=b"X-Padding: 0123456789\r\n" * 1000)
        error = await self.error_of(self.client(), url)
        self.assertIn(f"more than {MAX_RECEIVED} bytes", error.detail)
        await self.require_closed()

    async def test_one_endless_header(self) -> None:
        url = await self.start_hostile(b"HTTP/1.1 200 OK\r\nX-Padding: ", endless=b"x" * 65536)
        await self.error_of(self.client(), url)
        await self.require_closed()

    async def test_endless_informational_responses(self) -> None:
        url = await self.start_hostile(b"", endless=b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)
        await self.error_of(self.client(timeout=2), url)
        await self.require_closed()

    async def test_no_response(self) -> None:
        url = await self.start_hostile(b"")
        error = await self.error_of(self.client(timeout=0.3), url)
        self.assertEqual(error.detail, "no response within 0.3 s")
        await self.require_closed()

    async def test_headers_that_arrive_slowly(self) -> None:
        url = await self.start_hostile(b"HTTP/1.1 200 OK\r\nX-Pad")
        self.assertEqual((await self.error_of(self.client(timeout=0.3), url)).detail, "no response within 0.3 s")
        await self.require_closed()

    async def test_reset(self) -> None:
        url = await self.start_hostile(b"", close="reset")
        self.assertIn("ConnectionLost", (await self.error_of(self.client(), url)).detail)

    async def test_no_http(self) -> None:
        url = await self.start_hostile(b"220 mail.example ESMTP\r\n", close="close")
        error = await self.error_of(self.client(), url)
        self.assertFalse(error.permanent)

    async def test_connection_refused(self) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            url = f"http://localhost:{unused.getsockname()[1]}/"
            self.assertIn("refused", (await self.error_of(self.client(), url)).detail)

    async def test_a_tls_handshake_that_does_not_end(self) -> None:
        url = (await self.start_hostile(b"")).replace("http://", "https://")
        self.assertEqual((await self.error_of(self.client(timeout=0.3), url)).detail, "no response within 0.3 s")
        await self.require_closed()


class AddressTests(HttpTestCase):
    async def test_special_addresses_are_refused_in_every_notation(self) -> None:
        receiver, url = await self.start_receiver()
        port = url.rpartition(":")[2].partition("/")[0]
        client = self.client(policy=AddressPolicy())
        for host in (
            "localhost",
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0177.0.0.1",
            "0.0.0.0",  # noqa: S104 - nothing listens on it
            "0",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[64:ff9b::7f00:1]",
            "169.254.169.254",
            "[fe80::1]",
            "10.0.0.1",
        ):
            error = await self.error_of(client, f"http://{host}:{port}/")
            self.assertRegex(error.detail, "is not public|cannot be resolved", host)
        self.assertEqual(receiver.requests, [])
        self.assertEqual(self.tracking.count, 0)

    async def test_an_allowed_address_in_another_notation(self) -> None:
        receiver, url = await self.start_receiver()
        port = url.rpartition(":")[2].partition("/")[0]
        await self.client().post(f"http://2130706433:{port}/", HEADERS, b"{}")
        self.assertEqual(len(receiver.requests), 1)

    async def test_only_permitted_addresses_of_a_name_are_used(self) -> None:
        receiver, url = await self.start_receiver()

        async def resolve(_host: str, _port: int) -> list[str]:
            return ["10.0.0.1", "127.0.0.1", "169.254.169.254"]

        await self.client(resolve=resolve).post(url, HEADERS, b"{}")
        self.assertEqual(len(receiver.requests), 1)

    async def test_a_name_is_looked_up_once(self) -> None:
        """A name server that answers differently the second time (DNS rebinding) is not asked a second time."""
        _, url = await self.start_receiver()
        answers: list[Sequence[str]] = [["93.184.216.34"], ["127.0.0.1"]]
        looked_up: list[str] = []
        connected: list[str] = []

        async def resolve(host: str, _port: int) -> list[str]:
            looked_up.append(host)
            return list(answers[min(len(looked_up), 2) - 1])

        def connect_tcp(host: str, *_args: object, **_options: object) -> None:
            connected.append(host)
            raise OSError("no route in this test")

        client = self.client(policy=AddressPolicy(), resolve=resolve)
        with mock.patch.object(reactor, "connectTCP", connect_tcp):
            await self.error_of(client, url)
        self.assertEqual((looked_up, connected), (["localhost"], ["93.184.216.34"]))

    async def test_the_next_address_is_tried(self) -> None:
        receiver, url = await self.start_receiver()

        async def resolve(_host: str, _port: int) -> list[str]:
            return ["127.0.0.2", "127.0.0.1"]  # the receiver listens on the second

        await self.client(policy=LOOPBACK, resolve=resolve).post(url, HEADERS, b"{}")
        self.assertEqual(len(receiver.requests), 1)

    async def test_unknown_host(self) -> None:
        error = await self.error_of(self.client(), "http://unknown.invalid/")
        self.assertIn("the host unknown.invalid cannot be resolved", error.detail)

    async def test_addresses_of_a_name(self) -> None:
        self.assertIn("127.0.0.1", await resolver(call_directly)("localhost", 80))
