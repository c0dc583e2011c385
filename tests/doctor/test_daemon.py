"""Tests of voxrec.doctor.daemon with servers on this machine."""

import socket
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import ClassVar

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from tests.subtest import subtest
from voxrec.config import Config, Rest, parse
from voxrec.doctor.daemon import check_daemon, check_unit_settings
from voxrec.doctor.finding import Status


class Ready(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"dependencies": {}}')

    def log_message(self, *_: object) -> None:
        pass


class Server(HTTPServer):
    address_family = socket.AF_INET6


class DaemonTests(SynchronousTestCase):
    def findings(self, listen: str) -> list[tuple[Status, str]]:
        config = msgspec.structs.replace(Config(), rest=Rest(listen=listen))
        return [(finding.status, finding.detail) for finding in check_daemon(config)]

    def test_ipv6(self) -> None:
        with Server(("::", 0), Ready) as server:
            port = server.server_address[1]
            thread = Thread(target=server.serve_forever)
            thread.start()
            for listen, host in (
                (rf"tcp:{port}:interface=\:\:", "[::1]"),
                (rf"tcp:{port}:interface=\:\:1", "[::1]"),
                (f"tcp:{port}", "127.0.0.1"),
                (rf"tcp:port={port}:interface=127.0.0.1", "127.0.0.1"),
            ):
                with subtest(listen):
                    self.assertEqual(self.findings(listen), [(Status.OK, f"REST responds at http://{host}:{port}")])
            server.shutdown()
            thread.join()
        failed, free = self.findings(rf"tcp:{port}:interface=\:\:1")
        self.assertIn(f"REST does not respond at http://[::1]:{port}: ", failed[1])
        self.assertEqual(free, (Status.OK, f"::1:{port} is free"))


class UnitTests(SynchronousTestCase):
    PROPERTIES: ClassVar = {
        "NeedDaemonReload": "no",
        "ProtectSystem": "strict",
        "ProtectHome": "yes",
        "ReadWritePaths": "/var/spool/asterisk/recording -/srv/optional",
        "StateDirectory": "voxrec",
    }

    def check(self, settings: str = "{}", **changes: str) -> list[str]:
        findings = [*check_unit_settings({**self.PROPERTIES, **changes}, parse(settings))]
        return [f"{finding.check}: {finding.detail} {finding.remedy}" for finding in findings]

    def test_the_shipped_settings(self) -> None:
        self.assertEqual(self.check(), [])
        self.assertEqual(self.check("archive: {directory: /srv/optional/archive}"), [])

    def test_directories_that_the_unit_does_not_let_voxrec_write_to(self) -> None:
        for settings, words in (
            ("archive: {directory: /srv/archive}", "unit archive.directory: "),
            ("asterisk: {recordings: /var/spool/asterisk}", "unit asterisk.recordings: "),
            ("asterisk: {sounds: /usr/share/asterisk/sounds}", "unit asterisk.sounds: "),
        ):
            (finding,) = self.check(settings)
            self.assertIn(words, finding)
            self.assertIn("[Service] ReadWritePaths=/", finding)
            self.assertEqual(self.check(settings, ProtectSystem="full"), [])

    def test_a_directory_that_the_unit_hides(self) -> None:
        (finding,) = self.check("archive: {directory: /home/archive}", ReadWritePaths="/home /var/spool")
        self.assertIn("ProtectHome=, which hides /home/archive", finding)

    def test_a_unit_that_systemd_has_not_read_again(self) -> None:
        (finding,) = self.check(NeedDaemonReload="yes")
        self.assertIn("systemctl daemon-reload", finding)
