"""The fault suite in short: a minute of calls, with voxrec, PostgreSQL and the mail server taken away meanwhile."""

import secrets
import shutil
import tempfile
from pathlib import Path

from tests.live.gateway import GatewayTestCase
from voxrec.sandbox.chaos.faults import (
    Fault,
    MailboxFault,
    MailDown,
    PostgresStopped,
    VoxrecKilled,
    VoxrecRestarted,
)
from voxrec.sandbox.chaos.run import ChaosRun, RunOptions
from voxrec.sandbox.chaos.schedule import FaultKind, plan_faults
from voxrec.sandbox.chaos.verification import START_SECONDS
from voxrec.sandbox.rootfs import asterisk_rootfs

FAULTS: tuple[Fault, ...] = (
    VoxrecKilled(),
    VoxrecRestarted(),
    PostgresStopped(),
    MailDown(),
    MailboxFault(FaultKind("mail-greylists", "mail", 3, 20), "greylist"),
)
DURATION = 40.0
SHORTEST = 3.0


def _seed() -> int:
    """A seed whose plan has every fault: a run this short has not always room for all."""
    while True:
        seed = secrets.randbelow(10**6)
        if len(plan_faults(seed, DURATION, [fault.kind for fault in FAULTS])) == len(FAULTS):
            return seed


def _directory() -> Path:
    # beside the test's own files would be too deep for a unix socket
    path = Path(tempfile.mkdtemp(prefix="voxrec-live-chaos-"))
    path.chmod(0o755)
    return path


class ChaosTests(GatewayTestCase):
    timeout = 400

    async def test_nothing_is_lost_while_everything_around_goes_and_comes(self) -> None:
        directory = _directory()
        said: list[str] = []
        options = RunOptions(_seed(), DURATION, FAULTS, min_call_seconds=SHORTEST, max_call_seconds=8.0)
        run = ChaosRun(self.reactor, directory, asterisk_rootfs(said.append), options, said.append)
        self.addCleanup(run.stop)
        report = await run.run()
        told = "\n".join([f"seed {options.seed}, logs in {directory}", *said, *report.violations])
        # a machine that is busy with other tests begins a recording late now and then; not one side may be missing
        self.assertLess(report.figures["seconds of audio lost"], SHORTEST - START_SECONDS, told)
        self.assertEqual([each for each in report.violations if " lost, of " not in each], [], told)
        # the plan took place, and the phones did talk
        self.assertEqual(report.figures["calls placed"], DURATION)
        self.assertGreater(report.figures["recordings found"], DURATION / 4)
        self.assertGreater(report.figures["seconds of audio found"], 2 * SHORTEST * DURATION / 4)
        shutil.rmtree(directory, ignore_errors=True)
