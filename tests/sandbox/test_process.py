"""Tests of voxrec.sandbox.process with real programs."""

import os
import signal
from pathlib import Path
from typing import cast

from twisted.internet import reactor as installed_reactor
from twisted.trial.unittest import TestCase

from voxrec.sandbox.asterisk import SandboxReactor
from voxrec.sandbox.errors import SandboxError
from voxrec.sandbox.process import AUDIO_NICE, Process, wait_until, with_parent_death_signal

reactor = cast("SandboxReactor", installed_reactor)


class ProcessTests(TestCase):
    def start(self, *program: str, stdin_pipe: bool = False) -> Process:
        process = Process(with_parent_death_signal(program), Path(self.mktemp()) / "program.log", stdin_pipe=stdin_pipe)
        self.addCleanup(process.kill)
        return process

    async def test_output_is_logged(self) -> None:
        process = self.start("sh", "-c", "echo out; echo err >&2; exit 3")
        self.assertEqual(await process.wait_until_ended(reactor, 10), 3)
        self.assertEqual(process.log_tail().split(), ["out", "err"])

    def test_audio_is_preferred_where_that_is_permitted(self) -> None:
        process = self.start("sleep", "60")
        process.prefer_for_audio()
        session = Path(f"/proc/{process.pid}/autogroup")
        if os.geteuid():
            self.assertEqual(os.getpriority(os.PRIO_PROCESS, process.pid), os.getpriority(os.PRIO_PROCESS, 0))
            return
        self.assertEqual(os.getpriority(os.PRIO_PROCESS, process.pid), AUDIO_NICE)
        if session.exists():
            self.assertIn(f"nice {AUDIO_NICE}", session.read_text())

    async def test_lines_reach_the_standard_input(self) -> None:
        process = self.start("sh", "-c", 'read -r line; echo "$line"', stdin_pipe=True)
        process.write_line("first line")
        self.assertEqual(await process.wait_until_ended(reactor, 10), 0)
        self.assertEqual(process.log_tail(), "first line")
        self.assertRaises(SandboxError, process.write_line, "second line")

    async def test_writing_without_a_pipe_raises_an_error(self) -> None:
        self.assertRaises(SandboxError, self.start("sleep", "60").write_line, "first line")

    async def test_stop_terminates_the_program(self) -> None:
        process = self.start("sleep", "60")
        self.assertEqual(await process.stop(reactor), -signal.SIGTERM)

    async def test_stop_kills_a_program_that_ignores_the_signal(self) -> None:
        process = self.start("sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.05; done")
        self.assertTrue(await wait_until(reactor, lambda: "ready" in process.log_tail(), 10))
        self.assertEqual(await process.stop(reactor, grace=0.1), -signal.SIGKILL)

    async def test_a_timeout_raises_an_error_with_the_log(self) -> None:
        process = self.start("sh", "-c", "echo still here; exec sleep 60")
        await wait_until(reactor, lambda: "still" in process.log_tail(), 10)
        with self.assertRaisesRegex(SandboxError, "still here"):
            await process.wait_until_ended(reactor, 0.05)

    def test_a_missing_program_raises_an_error(self) -> None:
        with self.assertRaisesRegex(SandboxError, "cannot start /no/such"):
            Process(["/no/such"], Path(self.mktemp()) / "program.log")

    async def test_the_program_is_killed_when_its_parent_is_killed(self) -> None:
        # The parent is a shell that starts the child and waits; the child prints its id after setpriv has taken effect.
        child = " ".join(with_parent_death_signal(["sh", "-c", "'echo $$; exec sleep 60'"]))
        parent = self.start("sh", "-c", f"{child} & wait")
        self.assertTrue(await wait_until(reactor, lambda: parent.log_tail() != "", 10))
        pid = int(parent.log_tail())
        self.assertFalse(_has_ended(pid))
        parent.kill()
        self.assertTrue(await wait_until(reactor, lambda: _has_ended(pid), 10))


def _has_ended(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    return not status.exists() or "State:\tZ" in status.read_text()
