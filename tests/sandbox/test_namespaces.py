"""Tests of voxrec.sandbox.namespaces: the commands that enter a mount namespace."""

import os
import socket
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from voxrec.sandbox.namespaces import MountNamespace


class MountNamespaceTests(SynchronousTestCase):
    def test_on_the_host_only_the_parent_death_signal_is_set(self) -> None:
        namespace = MountNamespace(None, Path("/instance"))
        self.assertEqual(
            namespace.command(["asterisk", "-f"]), ["setpriv", "--pdeathsig", "KILL", "--", "asterisk", "-f"]
        )
        self.assertEqual(namespace.path_inside(Path("/instance/etc/a.conf")), "/instance/etc/a.conf")

    def test_paths_are_mapped_to_the_mount_point(self) -> None:
        self.assertEqual(
            MountNamespace(Path("/root"), Path("/instance")).path_inside(Path("/instance/etc/a.conf")),
            "/mnt/etc/a.conf",
        )

    def test_values_are_passed_as_arguments_not_in_the_shell_script(self) -> None:
        command = MountNamespace(Path("/a b;$(c)"), Path("/d'e")).command(["echo", "`f`"])
        shell = command.index("-c")
        self.assertEqual(command[shell + 2 :], ["voxrec-namespace", "/a b;$(c)", "/d'e", "", "echo", "`f`"])
        for value in ("/a b", "/d'e", "`f`"):
            self.assertNotIn(value, command[shell + 1])

    def test_only_an_unprivileged_user_needs_a_user_namespace(self) -> None:
        for uid, expected in ((0, False), (1000, True)):
            self.patch(os, "geteuid", lambda uid=uid: uid)
            self.assertEqual("--user" in MountNamespace(Path("/root"), Path("/instance")).command(["true"]), expected)

    def test_the_host_name_resolves_without_a_name_server(self) -> None:
        directory = Path(self.mktemp())
        MountNamespace(None, directory).prepare()
        self.assertIn(socket.gethostname(), (directory / "hosts").read_text().split())
        self.assertEqual((directory / "resolv.conf").read_text(), "")

    def test_all_processes_of_a_program_end_with_the_one_that_is_started(self) -> None:
        command = MountNamespace(Path("/root"), Path("/instance")).command(["true"], own_processes=True)
        self.assertEqual(command[:5], ["setpriv", "--pdeathsig", "KILL", "--", "unshare"])
        for option in ("--pid", "--fork", "--kill-child=KILL"):
            self.assertIn(option, command[: command.index("sh")])
