"""Tests of voxrec.doctor.certificate, with a real TLS server."""

import socket
import ssl
from datetime import timedelta
from pathlib import Path
from threading import Thread

from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import make_pem
from voxrec.config import Config, Rest
from voxrec.doctor.certificate import check_certificate
from voxrec.doctor.finding import Status

YEAR = timedelta(days=365)


class CertificateTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.key, self.certificate = self.directory / "key.pem", self.directory / "certificate.pem"

    def write(self, *hosts: str, expires_in: timedelta = YEAR) -> None:
        key, certificate = make_pem(*hosts, expires_in=expires_in)
        self.key.write_bytes(key)
        self.certificate.write_bytes(certificate)

    def check(self, public_url: str = "https://voxrec.example", port: int = 1) -> dict[str, tuple[Status, str]]:
        listen = f"ssl:{port}:interface=127.0.0.1:privateKey={self.key}:certKey={self.certificate}"
        findings = check_certificate(Config(rest=Rest(listen=listen, public_url=public_url)))
        return {each.check.removeprefix("REST certificate").strip(): (each.status, each.detail) for each in findings}

    def test_without_tls(self) -> None:
        self.assertEqual([*check_certificate(Config())], [])

    def test_validity(self) -> None:
        for expires_in, status, words in (
            (YEAR, Status.OK, "is valid until"),
            (timedelta(days=13), Status.WARNING, "expires on"),
            (timedelta(minutes=-1), Status.FAILED, "is valid from"),
        ):
            self.write("voxrec.example", expires_in=expires_in)
            ((found, detail),) = self.check().values()
            self.assertIs(found, status)
            self.assertIn(f"{self.certificate} {words}", detail)

    def test_the_host_of_the_public_url(self) -> None:
        self.write("voxrec.example", "*.pbx.example", "192.0.2.1")
        for host in ("voxrec.example", "one.pbx.example", "192.0.2.1"):
            self.assertNotIn("host", self.check(f"https://{host}:8443/"), host)
        for host in ("example", "a.voxrec.example", "192.0.2.2"):
            self.assertIs(self.check(f"https://{host}/")["host"][0], Status.FAILED, host)

    def test_a_certificate_that_was_renewed_without_a_reload(self) -> None:
        self.write("voxrec.example")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]

            def serve() -> None:
                for _ in range(2):
                    connection, _ = server.accept()
                    with context.wrap_socket(connection, server_side=True) as tls:
                        tls.recv(1)

            thread = Thread(target=serve)
            thread.start()
            self.assertNotIn("in use", self.check(port=port))
            self.write("voxrec.example")
            self.assertIs(self.check(port=port)["in use"][0], Status.WARNING)
            thread.join()
