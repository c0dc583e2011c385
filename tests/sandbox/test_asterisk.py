"""Tests of voxrec.sandbox.asterisk without a running Asterisk: the shared configuration and the additions to it."""

import socket
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from voxrec.sandbox import asterisk
from voxrec.sandbox.asterisk import (
    SNIPPETS,
    SandboxAsterisk,
    application_extension,
    baseline_extension,
    free_port,
    snippets_directory,
    unneeded_modules,
)
from voxrec.sandbox.errors import SandboxError


class SharedConfigurationTests(SynchronousTestCase):
    def test_a_checkout_uses_its_own_files(self) -> None:
        self.assertEqual(snippets_directory(), Path(asterisk.__file__).parents[2] / "etc" / "asterisk")

    def test_an_installation_uses_the_installed_files(self) -> None:
        prefix = Path(self.mktemp()).absolute()
        self.patch(asterisk, "__file__", str(prefix / "lib" / "voxrec" / "sandbox" / "asterisk.py"))
        self.patch(sys, "prefix", str(prefix))
        self.assertRaises(SandboxError, snippets_directory)
        installed = prefix / "share" / "voxrec" / "etc" / "asterisk"
        installed.mkdir(parents=True)
        for name in SNIPPETS:
            (installed / name).touch()
        self.assertEqual(snippets_directory(), installed)

    def test_the_files_are_copied_unchanged_and_included(self) -> None:
        instance = SandboxAsterisk(Path(self.mktemp()), None)
        instance._write_configuration()
        written = instance.directory / "etc"
        for name in SNIPPETS:
            self.assertEqual((written / "voxrec" / name).read_text(), (snippets_directory() / name).read_text())
            self.assertRegex((written / name).read_text(), f'(?m)^#include "(.*/)?voxrec/{name}"$')

    def test_other_users_cannot_read_the_password(self) -> None:
        instance = SandboxAsterisk(Path(self.mktemp()), None)
        instance._write_configuration()
        self.assertIn(instance.ari_password, (instance.directory / "etc" / "ari.conf").read_text())
        self.assertEqual((instance.directory / "etc").stat().st_mode & 0o077, 0)
        self.assertEqual(instance.directory.stat().st_mode & 0o066, 0)


class DialplanTests(SynchronousTestCase):
    def test_prefixes_of_extensions_are_no_wildcards(self) -> None:
        instance = SandboxAsterisk(Path(self.mktemp()), None)
        dialplan = instance._configuration()["extensions.conf"]
        extensions = [
            *(baseline_extension(5070, recording=each) for each in ("none", "mixed", "split")),
            application_extension("demo", 5070),
        ]
        for extension in extensions:
            prefix = extension.partition("-")[0]
            self.assertIn(f"exten => _{prefix}-.,1,", dialplan)
            self.assertNotRegex(prefix, "[nxzNXZ]")


class UnneededModulesTests(SynchronousTestCase):
    def test_modules_are_found_in_each_releases_directory(self) -> None:
        for libraries in ("usr/lib/asterisk/modules", "usr/lib/x86_64-linux-gnu/asterisk/modules"):
            root = Path(self.mktemp())
            modules = root / libraries
            modules.mkdir(parents=True)
            for name in ("cdr_csv", "chan_iax2", "chan_pjsip", "chan_bridge_media", "pbx_config", "pbx_lua", "res_ari"):
                (modules / f"{name}.so").touch()
            self.assertEqual(unneeded_modules(root), ["cdr_csv.so", "chan_iax2.so", "pbx_lua.so"])


class FreePortTests(SynchronousTestCase):
    def test_a_free_port_can_be_bound(self) -> None:
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with socket.socket(socket.AF_INET, kind) as bound:
                bound.bind((asterisk.LOOPBACK, free_port(kind)))

    def test_no_two_programs_get_the_same_port(self) -> None:
        self.patch(asterisk, "LISTENING_PORTS", range(10000, 10020))
        ports = [free_port(socket.SOCK_STREAM) for _ in range(3)]
        program = "import socket; from voxrec.sandbox import asterisk; asterisk.LISTENING_PORTS = range(10000, 10020)\n"
        program += "while True: print(asterisk.free_port(socket.SOCK_STREAM))"
        result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)  # noqa: S603
        self.assertIn("SandboxError: no loopback port of 10000 to 10019 is free", result.stderr)
        others = [int(line) for line in result.stdout.split()]
        self.assertEqual(set(ports) & set(others), set())
        self.assertEqual(len({*ports, *others}), len(ports) + len(others))

    def test_a_port_is_never_that_of_an_outgoing_connection(self) -> None:
        first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
        self.assertLessEqual(asterisk.LISTENING_PORTS.stop, min(first, asterisk.RTP_PORTS[0]))
