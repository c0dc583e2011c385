"""The fault suite in short: a minute of calls, with voxrec, PostgreSQL and the mail server taken away meanwhile."""

import secrets
import shutil
import tempfile
from pathlib import Path

from tests.live.gateway import GatewayTestCase
from voxrec.sandbox.chaos.faults import (
    Fault,
    MailDown,
    MailMisbehaves,
    PostgresStopped,
    VoxrecKilled,
    VoxrecRestarted,
)
from voxrec.sandbox.chaos.ledger import START_SECONDS
from voxrec.sandbox.chaos.run import Order, Run
from voxrec.sandbox.chaos.schedule import Kind, plan_faults
from voxrec.sandbox.rootfs import asterisk_rootfs

FAULTS: tuple[Fault, ...] = (
    VoxrecKilled(),
    VoxrecRestarted(),
    PostgresStopped(),
    MailDown(),
    MailMisbehaves(Kind("mail-greylists", "mail", 3, 20), "greylist"),
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
        order = Order(_seed(), DURATION, FAULTS, shortest=SHORTEST, longest=8.0)
        run = Run(self.reactor, directory, asterisk_rootfs(said.append), order, said.append)
        self.addCleanup(run.stop)
        judgement = await run.run()
        told = "\n".join([f"seed {order.seed}, logs in {directory}", *said, *judgement.violations])
        # a machine that is busy with other tests begins a recording late now and then; not one side may be missing
        self.assertLess(judgement.figures["seconds of audio lost"], SHORTEST - START_SECONDS, told)
        self.assertEqual([each for each in judgement.violations if " lost, of " not in each], [], told)
        # the plan took place, and the phones did talk
        self.assertEqual(judgement.figures["calls placed"], DURATION)
        self.assertGreater(judgement.figures["recordings found"], DURATION / 4)
        self.assertGreater(judgement.figures["seconds of audio found"], 2 * SHORTEST * DURATION / 4)
        shutil.rmtree(directory, ignore_errors=True)
