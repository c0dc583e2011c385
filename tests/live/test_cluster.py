"""A short run of ``make cluster``: two nodes behind Kamailio, PostgreSQL with a standby, and calls during failures."""

import shutil
import tempfile
from pathlib import Path

from tests.live.live_test_case import LiveTestCase
from voxrec.sandbox.chaos.cluster import ClusterRun
from voxrec.sandbox.chaos.cluster_faults import all_faults
from voxrec.sandbox.chaos.fault_run import RunOptions
from voxrec.sandbox.chaos.verification import START_SECONDS
from voxrec.sandbox.rootfs import asterisk_rootfs

FAULTS = ("asterisk-killed", "drained", "postgresql-failover", "kamailio-killed")
SEED = 15
"""A seed whose schedule has all of these faults."""
DURATION = 20.0
MIN_CALL_SECONDS = 3.0


def _directory() -> Path:
    # Not below trial's temporary directory: the path of a Unix socket may have 107 bytes at most.
    path = Path(tempfile.mkdtemp(prefix="voxrec-live-cluster-"))
    path.chmod(0o755)
    return path


class ClusterTests(LiveTestCase):
    timeout = 400

    async def test_no_call_is_refused_and_no_recording_lost_while_components_fail(self) -> None:
        directory = _directory()
        progress: list[str] = []
        faults = [fault for fault in all_faults() if fault.kind.name in FAULTS]
        options = RunOptions(SEED, DURATION, faults, min_call_seconds=MIN_CALL_SECONDS, max_call_seconds=6.0)
        self.assertEqual({fault.fault for fault in options.scheduled_faults}, {*FAULTS})
        run = ClusterRun(
            self.reactor, directory, asterisk_rootfs(progress.append), options, progress.append, ("berlin", "munich")
        )
        self.addCleanup(run.stop)
        report = await run.run()
        details = "\n".join([f"logs in {directory}", *progress, *report.violations])
        # On a machine that is busy with other tests a recording may start late, but no side may be missing entirely.
        self.assertLess(report.figures["seconds of audio lost"], MIN_CALL_SECONDS - START_SECONDS, details)
        self.assertEqual([each for each in report.violations if " lost, of " not in each], [], details)
        self.assertEqual(report.figures["calls placed"], DURATION)
        for name in ("berlin", "munich"):
            self.assertGreater(report.figures[f"calls of node {name}"], 0, details)
        self.assertGreater(report.figures["recordings found"], DURATION / 2)
        shutil.rmtree(directory, ignore_errors=True)
