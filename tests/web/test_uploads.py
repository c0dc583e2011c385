"""Tests of voxrec.web.uploads."""

import os
import tempfile
import time
from pathlib import Path
from uuid import UUID

from twisted.trial.unittest import SynchronousTestCase

from voxrec.web.uploads import remove_stale_files


class LeftoverTests(SynchronousTestCase):
    def test_what_nobody_wrote_to_for_a_day_goes(self) -> None:
        """Of an upload and of a finish alike: also where no further attempt comes, since its Recording is gone."""
        held = tempfile.TemporaryDirectory()
        self.addCleanup(held.cleanup)
        names = "upload-x7k2", f"{UUID(int=1)}-0123456789abcdef-joined.wav"
        for age in (86000, 87000):
            for name in names:
                path = Path(held.name, f"{name}-{age}")
                path.touch()
                os.utime(path, times=(0, time.time() - age))
        remove_stale_files(Path(held.name))
        self.assertEqual({path.name for path in Path(held.name).iterdir()}, {f"{name}-86000" for name in names})

    def test_a_directory_that_is_not_there_yet(self) -> None:
        remove_stale_files(Path("/nowhere/at/all"))
