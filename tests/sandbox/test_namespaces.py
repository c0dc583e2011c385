"""Tests of voxrec.sandbox.namespaces and voxrec.sandbox.process: what is run, and that it ends."""

import os
import signal
import socket
from pathlib import Path
from typing import cast

from twisted.internet import reactor as installed_reactor
from twisted.trial.unittest import SynchronousTestCase, TestCase

from voxrec.sandbox.asterisk import SandboxReactor
from voxrec.sandbox.errors import SandboxError
from voxrec.sandbox.namespaces import Cell
from voxrec.sandbox.process import Process, dying_with_parent, wait_until

reactor = cast("SandboxReactor", installed_reactor)


class Commands(SynchronousTestCase):
    def test_on_the_host_a_program_only_dies_with_us(self) -> None:
        cell = Cell(None, Path("/instance"))
        self.assertEqual(cell.command(["asterisk", "-f"]), ["setpriv", "--pdeathsig", "KILL", "--", "asterisk", "-f"])
        self.assertEqual(cell.inside(Path("/instance/etc/a.conf")), "/instance/etc/a.conf")

    def test_in_another_root_the_directory_has_another_name(self) -> None:
        self.assertEqual(Cell(Path("/root"), Path("/instance")).inside(Path("/instance/etc/a.conf")), "/mnt/etc/a.conf")

    def test_values_are_arguments_and_never_part_of_the_shell_text(self) -> None:
        command = Cell(Path("/a b;$(c)"), Path("/d'e")).command(["echo", "`f`"])
        shell = command.index("-c")
        self.assertEqual(command[shell + 2 :], ["voxrec-cell", "/a b;$(c)", "/d'e", "echo", "`f`"])
        for value in ("/a b", "/d'e", "`f`"):
            self.assertNotIn(value, command[shell + 1])

    def test_only_a_user_needs_a_user_namespace(self) -> None:
        for uid, wanted in ((0, False), (1000, True)):
            self.patch(os, "geteuid", lambda uid=uid: uid)
            self.assertEqual("--user" in Cell(Path("/root"), Path("/instance")).command(["true"]), wanted)

    def test_the_machine_finds_its_own_name_without_asking(self) -> None:
        directory = Path(self.mktemp())
        Cell(None, directory).prepare()
        self.assertIn(socket.gethostname(), (directory / "hosts").read_text().split())
        self.assertEqual((directory / "resolv.conf").read_text(), "")


class Processes(TestCase):
    def start(self, *program: str, listens: bool = False) -> Process:
        process = Process(dying_with_parent(program), Path(self.mktemp()) / "program.log", listens=listens)
        self.addCleanup(process.kill)
        return process

    async def test_what_it_prints_is_in_its_log(self) -> None:
        process = self.start("sh", "-c", "echo out; echo err >&2; exit 3")
        self.assertEqual(await process.ended(reactor, 10), 3)
        self.assertEqual(process.log_tail().split(), ["out", "err"])

    async def test_a_program_that_listens_is_told_things(self) -> None:
        process = self.start("sh", "-c", 'read -r words; echo "$words"', listens=True)
        process.tell("good morning")
        self.assertEqual(await process.ended(reactor, 10), 0)
        self.assertEqual(process.log_tail(), "good morning")
        self.assertRaises(SandboxError, process.tell, "good night")

    async def test_one_that_does_not_listen_is_told_nothing(self) -> None:
        self.assertRaises(SandboxError, self.start("sleep", "60").tell, "good morning")

    async def test_a_signal_reaches_the_program_itself(self) -> None:
        process = self.start("sleep", "60")
        self.assertEqual(await process.stop(reactor), -signal.SIGTERM)

    async def test_who_does_not_listen_is_killed_after_the_grace(self) -> None:
        process = self.start("sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.05; done")
        self.assertTrue(await wait_until(reactor, lambda: "ready" in process.log_tail(), 10))
        self.assertEqual(await process.stop(reactor, grace=0.1), -signal.SIGKILL)

    async def test_too_slow_is_an_error_that_shows_the_log(self) -> None:
        process = self.start("sh", "-c", "echo still here; exec sleep 60")
        await wait_until(reactor, lambda: "still" in process.log_tail(), 10)
        with self.assertRaisesRegex(SandboxError, "still here"):
            await process.ended(reactor, 0.05)

    def test_a_program_that_is_not_there(self) -> None:
        with self.assertRaisesRegex(SandboxError, "cannot start /no/such"):
            Process(["/no/such"], Path(self.mktemp()) / "program.log")

    async def test_it_dies_with_its_parent_even_when_that_is_killed(self) -> None:
        # The parent is a shell that starts the child and waits; the child tells its id once the promise is made.
        child = " ".join(dying_with_parent(["sh", "-c", "'echo $$; exec sleep 60'"]))
        parent = self.start("sh", "-c", f"{child} & wait")
        self.assertTrue(await wait_until(reactor, lambda: parent.log_tail() != "", 10))
        pid = int(parent.log_tail())
        self.assertFalse(_gone(pid))
        parent.kill()
        self.assertTrue(await wait_until(reactor, lambda: _gone(pid), 10))


def _gone(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    return not status.exists() or "State:\tZ" in status.read_text()
