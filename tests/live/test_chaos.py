"""A short chaos run: 40 s of calls with faults of voxrec, AMI, PostgreSQL and the mail server."""

import secrets
import shutil
import tempfile
from pathlib import Path

from tests.live.live_test_case import LiveTestCase
from voxrec.sandbox.chaos.environment import Environment, Fault
from voxrec.sandbox.chaos.fault_run import RunOptions
from voxrec.sandbox.chaos.faults import (
    AmiDown,
    MailboxFault,
    MailDown,
    PostgresStopped,
    VoxrecKilled,
    VoxrecRestarted,
)
from voxrec.sandbox.chaos.run import ChaosRun
from voxrec.sandbox.chaos.schedule import FaultKind, plan_faults
from voxrec.sandbox.chaos.standby import EndsAndReturns
from voxrec.sandbox.chaos.verification import START_SECONDS
from voxrec.sandbox.rootfs import asterisk_rootfs

FAULTS: tuple[Fault[Environment], ...] = (
    EndsAndReturns(VoxrecKilled()),
    EndsAndReturns(VoxrecRestarted()),
    AmiDown(),
    PostgresStopped(),
    MailDown(),
    MailboxFault(FaultKind("mail-greylists", "mail", 3, 20), "greylist"),
)
DURATION = 40.0
MIN_CALL_SECONDS = 3.0


def _seed() -> int:
    """Return a seed whose schedule has every fault: in a short run not all of them always fit."""
    while True:
        seed = secrets.randbelow(10**6)
        if len(plan_faults(seed, DURATION, [fault.kind for fault in FAULTS])) == len(FAULTS):
            return seed


def _directory() -> Path:
    # Not below trial's temporary directory: the path of a Unix socket may have 107 bytes at most.
    path = Path(tempfile.mkdtemp(prefix="voxrec-live-chaos-"))
    path.chmod(0o755)
    return path


class ChaosTests(LiveTestCase):
    timeout = 400

    async def test_no_violation_with_faults_of_voxrec_ami_postgresql_and_mail(self) -> None:
        directory = _directory()
        progress: list[str] = []
        options = RunOptions(_seed(), DURATION, FAULTS, min_call_seconds=MIN_CALL_SECONDS, max_call_seconds=8.0)
        run = ChaosRun(self.reactor, directory, asterisk_rootfs(progress.append), options, progress.append)
        self.addCleanup(run.stop)
        report = await run.run()
        details = "\n".join([f"seed {options.seed}, logs in {directory}", *progress, *report.violations])
        # On a machine that is busy with other tests a recording may start late, but no side may be missing entirely.
        self.assertLess(report.figures["seconds of audio lost"], MIN_CALL_SECONDS - START_SECONDS, details)
        self.assertEqual([each for each in report.violations if " lost, of " not in each], [], details)
        # The calls took place and had audio.
        self.assertEqual(report.figures["calls placed"], DURATION)
        self.assertGreater(report.figures["recordings found"], DURATION / 4)
        self.assertGreater(report.figures["seconds of audio found"], 2 * MIN_CALL_SECONDS * DURATION / 4)
        shutil.rmtree(directory, ignore_errors=True)
