"""The tests that boot a host are skipped with the reason where it is impossible, and only there."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from twisted.trial.unittest import SynchronousTestCase

from tests.containers.systemd_host import reason_to_skip

ROOT: Final = Path(__file__).parents[2]
_PRINT: Final = "from tests.containers.systemd_host import reason_to_skip; print(reason_to_skip())"


class ReasonTests(SynchronousTestCase):
    def setUp(self) -> None:
        if os.geteuid() != 0:
            self.skipTest("only root can give up privileges one after the other")
        if reason := reason_to_skip():
            self.skipTest(reason)

    def reason(self, *restriction: str) -> str:
        """Return the reason for a process that a command has restricted."""
        command = [*restriction, sys.executable, "-c", _PRINT]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.strip()

    def test_without_a_restriction(self) -> None:
        self.assertEqual(self.reason(), "")

    def test_another_user(self) -> None:
        self.assertIn("needs root", self.reason("setpriv", "--reuid=1000", "--clear-groups"))

    def test_a_container_without_capabilities(self) -> None:
        restricted = self.reason("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin")
        self.assertIn("may not create namespaces", restricted)
        self.assertIn("unshare failed: Operation not permitted", restricted)

    def test_root_of_a_user_namespace(self) -> None:
        """As in a rootless container, which has cgroup v2, but may not mount all that a host needs."""
        rootless = ("unshare", "--user", "--map-root-user")
        self.assertIn("permission denied", self.reason(*rootless))
        self.assertIn("permission denied", self.reason(*rootless, "--mount", "--cgroup"))
