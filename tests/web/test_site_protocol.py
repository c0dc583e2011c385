"""What every connection and every answer has to do with: TLS, pages of other origins, limits, the access log."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from twisted.internet.endpoints import SSL4ClientEndpoint, connectProtocol, serverFromString
from twisted.internet.ssl import Certificate, optionsForClientTLS
from twisted.internet.testing import StringTransport
from twisted.python import log
from twisted.trial.unittest import SynchronousTestCase

from tests.api.rest_test_case import BODY_LIMIT, RestTestCase
from tests.database import reactor, until
from tests.web.test_site import Echo
from tests.web.wire import Wire, connected, raw
from voxrec import config
from voxrec.errors import ConfigError
from voxrec.web.site import RestSite

ORIGIN = "https://app.example"


def certified(directory: Path) -> tuple[Path, Path]:
    """A private key and a certificate of our own making, for localhost."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    key_file, certificate_file = directory / "key.pem", directory / "certificate.pem"
    key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    certificate_file.write_bytes(certificate.public_bytes(Encoding.PEM))
    return key_file, certificate_file


class TlsTests(RestTestCase):
    async def test_https_as_it_is_configured(self) -> None:
        key, certificate = certified(self.make_directory())
        listen = f"ssl:0:privateKey={key}:certKey={certificate}:interface=127.0.0.1"
        settings = config.parse(f"rest: {{listen: '{listen}'}}")
        port: Any = await serverFromString(reactor, settings.rest.listen).listen(self.site)
        self.addCleanup(port.stopListening)
        trusting = optionsForClientTLS("localhost", trustRoot=Certificate.loadPEM(certificate.read_bytes()))
        wire = Wire()
        await connectProtocol(SSL4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port, trusting), wire)
        wire.transport.write(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        await until(lambda: b'{"live":true}' in wire.received)
        self.assertIn(b"HTTP/1.1 200", wire.received)
        self.assertIn(b"strict-transport-security: max-age=31536000\r\n", wire.received.lower())
        await wire.ended

    async def test_plain_http_says_nothing_of_tls(self) -> None:
        response = await self.request("GET", "/health/live")
        self.assertNotIn("strict-transport-security", response.headers)

    def test_a_key_that_is_none(self) -> None:
        directory = self.make_directory()
        (directory / "key.pem").write_text("not a key")
        listen = f"ssl:0:privateKey={directory / 'key.pem'}"
        for wrong in (listen, "ssl:0:privateKey=/no/such/file"):
            with self.assertRaises(ConfigError) as caught:
                config.parse(f"rest: {{listen: '{wrong}'}}")
            self.assertEqual([fault.field for fault in caught.exception.field_errors], ["rest.listen"])


class NoCorsTests(RestTestCase):
    async def test_off_unless_configured(self) -> None:
        for method in ("GET", "OPTIONS"):
            asked = {"Origin": ORIGIN, "Access-Control-Request-Method": "GET"}
            response = await self.request(method, "/profiles", headers=asked)
            self.assertEqual([name for name in response.headers if name.startswith("access-control")], [])
            self.assertNotIn("vary", response.headers)


class CorsTests(RestTestCase):
    cors_origins = (ORIGIN, "http://localhost:5173")

    async def test_an_answer(self) -> None:
        response = await self.request("GET", "/profiles", headers={"Origin": ORIGIN})
        self.assertEqual((response.status, response.headers["access-control-allow-origin"]), (200, ORIGIN))
        self.assertEqual(response.headers["vary"], "Origin")
        for name in ("ETag", "Link", "Location"):
            self.assertIn(name, response.headers["access-control-expose-headers"])

    async def test_a_refusal_can_be_read_too(self) -> None:
        response = await self.request("GET", "/profiles", token="", headers={"Origin": ORIGIN})
        self.assertEqual((response.status, response.headers["access-control-allow-origin"]), (401, ORIGIN))

    async def test_a_preflight(self) -> None:
        asked = {"Origin": ORIGIN, "Access-Control-Request-Method": "PUT"}
        response = await self.request("OPTIONS", "/profiles", token="", headers=asked)
        self.assertEqual((response.status, response.body), (204, b""))
        self.assertEqual(response.headers["access-control-allow-origin"], ORIGIN)
        self.assertIn("PUT", response.headers["access-control-allow-methods"])
        for name in ("Authorization", "If-Match", "Idempotency-Key", "Last-Event-ID"):
            self.assertIn(name, response.headers["access-control-allow-headers"])

    async def test_other_origins(self) -> None:
        for origin in ("https://app.example.evil", "http://app.example", "null", "https://APP.example"):
            asked = {"Origin": origin, "Access-Control-Request-Method": "PUT"}
            for method in ("GET", "OPTIONS"):
                response = await self.request(method, "/profiles", headers=asked)
                self.assertNotIn("access-control-allow-origin", response.headers)
                self.assertEqual(response.headers["vary"], "Origin")

    async def test_no_origin(self) -> None:
        response = await self.request("GET", "/profiles")
        self.assertNotIn("access-control-allow-origin", response.headers)
        self.assertEqual(response.headers["vary"], "Origin")


class EveryOriginTests(RestTestCase):
    cors_origins = ("*",)

    async def test_all(self) -> None:
        response = await self.request("GET", "/profiles", headers={"Origin": "https://anywhere.example"})
        self.assertEqual(response.headers["access-control-allow-origin"], "*")
        self.assertNotIn("vary", response.headers)


class LimitsTests(RestTestCase):
    async def test_headers(self) -> None:
        for headers in (b"X-Long: %s\r\n" % (b"a" * 17_000), b"X: 1\r\n" * 600, b"X-Many: 1234567890\r\n" * 1000):
            answer = await raw(self.port, b"GET /health/live HTTP/1.1\r\nHost: a\r\n" + headers + b"\r\n")
            self.assertNotIn(b"200 OK", answer)
        answer = await raw(self.port, b"GET /" + b"a" * 17_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertNotIn(b"200 OK", answer)

    async def test_long_headers_that_are_allowed(self) -> None:
        response = await self.request("GET", "/health/live", headers={"X-Long": "a" * 15_000})
        self.assertEqual(response.status, 200)


class ConnectionsTests(RestTestCase):
    async def test_no_more_than_so_many(self) -> None:
        site = RestSite(self.resource, body_limit=BODY_LIMIT, reactor=reactor, max_connections=3)
        listening: Any = await serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(site)
        self.addCleanup(listening.stopListening)
        port = listening.getHost().port
        kept = [await connected(port) for _ in range(3)]
        await until(lambda: site.connection_count == 3)
        for _ in range(5):
            refused = await connected(port)
            self.assertEqual(await refused.ended, b"")
        await until(lambda: site.connection_count == 3)
        kept[0].transport.write(b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n")
        await until(lambda: b"200 OK" in kept[0].received)
        kept[1].transport.loseConnection()
        await until(lambda: site.connection_count == 2)
        again = await connected(port)
        again.transport.write(b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n")
        await until(lambda: b"200 OK" in again.received)
        for wire in (kept[0], kept[2], again):
            wire.transport.loseConnection()
            await wire.ended
        await until(lambda: site.connection_count == 0)


class AccessLogTests(SynchronousTestCase):
    def lines(self, **given: Any) -> list[str]:
        site = RestSite(Echo(), body_limit=10, reactor=reactor, **given)
        site.startFactory()
        self.addCleanup(site.stopFactory)
        lines: list[str] = []
        log.addObserver(observer := lambda event: lines.append(log.textFromEventDict(event) or ""))
        self.addCleanup(log.removeObserver, observer)
        site._logFile = log.StdioOnnaStick() if hasattr(log, "StdioOnnaStick") else site._logFile
        transport = StringTransport()
        protocol: Any = site.buildProtocol(None)
        protocol.makeConnection(transport)
        protocol.dataReceived(b"PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
        protocol.connectionLost(None)
        self.assertIn(b"0 kept", transport.value())
        return [line for line in lines if "PUT /x" in line]

    def test_off(self) -> None:
        self.assertEqual(self.lines(), [])

    def test_on(self) -> None:
        self.assertEqual(len(self.lines(access_log=True)), 1)
