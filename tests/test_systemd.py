"""What systemd is told, over the socket that it names."""

import os
import socket

from twisted.trial.unittest import SynchronousTestCase

from voxrec.systemd import notify


class NotifyTests(SynchronousTestCase):
    def listening(self, address: str) -> socket.socket:
        server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(server.close)
        server.bind(address)
        server.settimeout(5)
        return server

    def test_over_a_path(self) -> None:
        server = self.listening("notify")
        self.addCleanup(os.unlink, "notify")
        self.patch(os, "environ", {"NOTIFY_SOCKET": "notify"})
        notify("READY=1")
        self.assertEqual(server.recv(100), b"READY=1")

    def test_over_an_abstract_name(self) -> None:
        server = self.listening(f"\0voxrec-{os.getpid()}")
        self.patch(os, "environ", {"NOTIFY_SOCKET": f"@voxrec-{os.getpid()}"})
        notify("STOPPING=1")
        self.assertEqual(server.recv(100), b"STOPPING=1")

    def test_without_systemd(self) -> None:
        for environment in ({}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "/nowhere/at/all"}):
            self.patch(os, "environ", environment)
            notify("READY=1")
