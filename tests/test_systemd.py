"""Tests of voxrec.systemd, with a socket in place of systemd's."""

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from tests.test_config import REPOSITORY
from tests.unit_restrictions import PRIVILEGED, RESOURCES, restricted
from voxrec.systemd import sd_notify, watchdog_interval


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


class WatchdogTests(SynchronousTestCase):
    def test_half_of_the_time_of_the_unit(self) -> None:
        self.assertEqual(watchdog_interval({"WATCHDOG_USEC": "30000000"}), 15.0)
        self.assertEqual(watchdog_interval({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}), 15.0)

    def test_no_watchdog(self) -> None:
        for environ in (
            {},
            {"WATCHDOG_USEC": "0"},
            {"WATCHDOG_USEC": "x"},
            {"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"},
        ):
            self.assertIsNone(watchdog_interval(environ), environ)


# What uses functions of Python that C libraries call: TLS of a client and of a server, and conversions of audio.
CALLBACKS = """
import sys
from pathlib import Path
import numpy as np
from OpenSSL import SSL
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import optionsForClientTLS
from twisted.internet.testing import StringTransport
from twisted.protocols.tls import TLSMemoryBIOFactory
from voxrec.audio.formats import WAV, get_format
from voxrec.audio.stream import convert_in_parts
from voxrec.audio.writer import write_audio

directory = Path(sys.argv[1])
samples = [np.zeros((8000, 1), dtype=np.int16)]
write_audio(samples, directory / "a.wav", 8000, 1, WAV)
print(len(b"".join(convert_in_parts(directory / "a.wav", get_format("opus")))) > 0)
write_audio(samples, directory / "a.g726", 8000, 1, get_format("g726-32"))
print((directory / "a.g726").stat().st_size)  # 67 blocks of 120 samples, each of 4 bits
transport = StringTransport()
factory = TLSMemoryBIOFactory(optionsForClientTLS("example.org"), True, Factory.forProtocol(Protocol))
factory.buildProtocol(None).makeConnection(transport)
print(transport.value()[:1].hex())
SSL.Context(SSL.TLS_METHOD).set_alpn_select_callback(lambda *_: b"http/1.1")
"""


class RestrictedProcessTests(SynchronousTestCase):
    def test_functions_that_libraries_call(self) -> None:
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        command = restricted([sys.executable, "-c", CALLBACKS, str(directory)], [*PRIVILEGED, *RESOURCES])
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)  # noqa: S603
        self.assertEqual((done.stderr, done.stdout.split()), ("", ["True", "4020", "16"]))


class UnitTests(SynchronousTestCase):
    """systemd's own analysis of the shipped unit, if this host has systemd-analyze."""

    def setUp(self) -> None:
        if shutil.which("systemd-analyze") is None:
            raise SkipTest("systemd-analyze is not installed")
        self.unit = Path(self.mktemp()).absolute() / "voxrec.service"
        self.unit.parent.mkdir()
        # the programs and the accounts are not installed here
        text = (REPOSITORY / "systemd" / "voxrec.service").read_text()
        self.unit.write_text(re.sub(r"/opt/voxrec/bin/\w+", "/bin/true", text))

    def analyze(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["systemd-analyze", *arguments, str(self.unit)]
        return subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603

    def exposure(self) -> float:
        output = self.analyze("--offline=yes", "security").stdout
        match = re.search(r"Overall exposure level for voxrec.service: ([0-9.]+)", output)
        self.assertIsNotNone(match, output)
        return float(match[1]) if match else 10.0

    def test_systemd_understands_every_line(self) -> None:
        output = self.analyze("verify").stderr
        self.assertEqual([line for line in output.splitlines() if "voxrec.service" in line], [])

    def test_exposure(self) -> None:
        """1.5 with the capability for ports below 1024; 1.0 with the restrictions for those who do not need it."""
        self.assertLessEqual(self.exposure(), 1.5)
        with self.unit.open("a") as file:
            file.write("\n" + (REPOSITORY / "systemd" / "hardened.conf").read_text())
        self.assertLessEqual(self.exposure(), 1.0)
