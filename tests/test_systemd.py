"""Tests of voxrec.systemd, with a socket in place of systemd's."""

import os
import socket

from twisted.trial.unittest import SynchronousTestCase

from voxrec.systemd import sd_notify


class SdNotifyTests(SynchronousTestCase):
    def bind(self, address: str) -> socket.socket:
        server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(server.close)
        server.bind(address)
        server.settimeout(5)
        return server

    def test_socket_with_a_path(self) -> None:
        server = self.bind("notify")
        self.addCleanup(os.unlink, "notify")
        self.patch(os, "environ", {"NOTIFY_SOCKET": "notify"})
        sd_notify("READY=1")
        self.assertEqual(server.recv(100), b"READY=1")

    def test_socket_in_the_abstract_namespace(self) -> None:
        server = self.bind(f"\0voxrec-{os.getpid()}")
        self.patch(os, "environ", {"NOTIFY_SOCKET": f"@voxrec-{os.getpid()}"})
        sd_notify("STOPPING=1")
        self.assertEqual(server.recv(100), b"STOPPING=1")

    def test_without_systemd(self) -> None:
        for environment in ({}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "/nowhere/at/all"}):
            self.patch(os, "environ", environment)
            sd_notify("READY=1")
