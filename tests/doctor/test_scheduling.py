"""Tests of voxrec.doctor.scheduling: what needs no Asterisk; tests/live/test_doctor.py tests the rest with one."""

import os
import socket
import subprocess
from contextlib import closing
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from voxrec.doctor import scheduling
from voxrec.doctor.finding import Status


class PolicyTests(SynchronousTestCase):
    def test_only_real_time_policies_are_sufficient(self) -> None:
        for policy, status in {
            os.SCHED_RR: Status.OK,
            os.SCHED_FIFO: Status.OK,
            os.SCHED_OTHER: Status.WARNING,
            os.SCHED_BATCH: Status.WARNING,
            os.SCHED_IDLE: Status.WARNING,
        }.items():
            finding = scheduling.check_policy(policy, 4711)
            self.assertIs(finding.status, status, policy)
            self.assertIn("4711", finding.detail)


class ProcessTests(SynchronousTestCase):
    def test_a_process_is_found_by_its_program(self) -> None:
        program = Path(self.mktemp())
        program.symlink_to("/bin/sleep")  # comm is the name of the file that was executed
        with subprocess.Popen([str(program.absolute()), "60"]) as process:  # noqa: S603
            self.addCleanup(process.kill)
            while process.pid not in (found := scheduling._processes(program.name[:15])):
                self.assertIsNone(process.poll(), found)
            self.assertEqual(found, [process.pid])
            process.kill()

    def test_a_process_is_found_by_the_port_that_it_listens_on(self) -> None:
        with closing(socket.create_server(("127.0.0.1", 0))) as server:
            sockets = scheduling._listening_sockets(server.getsockname()[1])
            self.assertEqual(len(sockets), 1)
            self.assertLessEqual(sockets, scheduling._open_sockets(os.getpid()))
        self.assertFalse(sockets & scheduling._open_sockets(os.getpid()))

    def test_only_loopback_addresses_are_this_machine(self) -> None:
        for host in ("127.0.0.1", "127.1.2.3", "::1", "localhost"):
            self.assertTrue(scheduling._is_local(host), host)
        for host in ("192.0.2.1", "2001:db8::1"):
            self.assertFalse(scheduling._is_local(host), host)
