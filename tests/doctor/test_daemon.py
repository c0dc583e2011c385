"""Tests of voxrec.doctor.daemon with servers on this machine."""

import socket
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from tests.subtest import subtest
from voxrec.config import Config, Rest
from voxrec.doctor.daemon import check_daemon
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
