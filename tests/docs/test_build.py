"""The documentation builds without a warning, and its pages load nothing from other hosts."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from twisted.trial.unittest import SynchronousTestCase

ROOT: Final = Path(__file__).parents[2]
_LOADED: Final = re.compile(r'<(?:script|link|img|iframe|source)\b[^>]*(?:src|href)="((?:https?:)?//[^"]+)"')
_LOADED_BY_CSS: Final = re.compile(r"(?:url\(|@import )[\"']?(?:https?:)?//")


class BuildTests(SynchronousTestCase):
    def test_build(self) -> None:
        target = Path(self.mktemp()).absolute()
        built = subprocess.run(
            [
                sys.executable,
                "-m",
                "sphinx",
                "--fail-on-warning",
                "--keep-going",
                "--nitpicky",
                "--quiet",
                "docs",
                target,
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual((built.returncode, built.stderr), (0, ""))
        pages = list(target.glob("*.html"))
        self.assertGreater(len(pages), 8)
        for page in pages:
            self.assertEqual(_LOADED.findall(page.read_text(encoding="utf-8")), [], page.name)
        for sheet in target.rglob("*.css"):
            self.assertIsNone(_LOADED_BY_CSS.search(sheet.read_text(encoding="utf-8")), sheet.name)
        diagrams = list((target / "_images").glob("*.svg"))
        self.assertNotEqual(diagrams, [])
