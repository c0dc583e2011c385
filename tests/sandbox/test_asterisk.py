"""Tests of voxrec.sandbox.asterisk that start none: where the shared lines come from, and what is added to them."""

import socket
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from voxrec.sandbox import asterisk
from voxrec.sandbox.asterisk import SNIPPETS, SandboxAsterisk, free_port, snippets_directory, unneeded_modules
from voxrec.sandbox.errors import SandboxError


class Snippets(SynchronousTestCase):
    def test_a_checkout_uses_its_own(self) -> None:
        self.assertEqual(snippets_directory(), Path(asterisk.__file__).parents[2] / "etc" / "asterisk")

    def test_an_installation_uses_what_was_installed_with_it(self) -> None:
        place = Path(self.mktemp()).absolute()
        self.patch(asterisk, "__file__", str(place / "lib" / "voxrec" / "sandbox" / "asterisk.py"))
        self.patch(sys, "prefix", str(place))
        self.assertRaises(SandboxError, snippets_directory)
        installed = place / "share" / "voxrec" / "etc" / "asterisk"
        installed.mkdir(parents=True)
        for name in SNIPPETS:
            (installed / name).touch()
        self.assertEqual(snippets_directory(), installed)

    def test_they_are_included_as_they_are(self) -> None:
        instance = SandboxAsterisk(Path(self.mktemp()), None)
        instance._write_configuration()
        written = instance.directory / "etc"
        for name in SNIPPETS:
            self.assertEqual((written / "voxrec" / name).read_text(), (snippets_directory() / name).read_text())
            self.assertTrue((written / name).read_text().startswith(f'#include "voxrec/{name}"\n'))

    def test_nobody_else_reads_the_password(self) -> None:
        instance = SandboxAsterisk(Path(self.mktemp()), None)
        instance._write_configuration()
        self.assertIn(instance.ari_password, (instance.directory / "etc" / "ari.conf").read_text())
        self.assertEqual(instance.directory.stat().st_mode & 0o077, 0)


class Modules(SynchronousTestCase):
    def test_wherever_a_release_keeps_them(self) -> None:
        for libraries in ("usr/lib/asterisk/modules", "usr/lib/x86_64-linux-gnu/asterisk/modules"):
            root = Path(self.mktemp())
            modules = root / libraries
            modules.mkdir(parents=True)
            for name in ("cdr_csv", "chan_iax2", "chan_pjsip", "chan_bridge_media", "pbx_config", "pbx_lua", "res_ari"):
                (modules / f"{name}.so").touch()
            self.assertEqual(unneeded_modules(root), ["cdr_csv.so", "chan_iax2.so", "pbx_lua.so"])


class Ports(SynchronousTestCase):
    def test_a_free_port_can_be_taken(self) -> None:
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with socket.socket(socket.AF_INET, kind) as taken:
                taken.bind((asterisk.LOOPBACK, free_port(kind)))
