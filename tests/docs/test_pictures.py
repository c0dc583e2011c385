"""The pictures of the console in docs/pictures."""

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "docs" / "pictures"
MAX_BYTES = 600 * 1024


class PictureTests(SynchronousTestCase):
    def test_each_picture_is_shown_and_exists(self) -> None:
        shown = set()
        for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
            for target in re.findall(r"!\[[^]]+\]\(([^)]+\.webp)\)", page.read_text()):
                shown.add((page.parent / target).resolve())
        self.assertEqual(shown, set(PICTURES.iterdir()))

    def test_they_are_small(self) -> None:
        self.assertLess(sum(path.stat().st_size for path in PICTURES.iterdir()), MAX_BYTES)
