"""`make help` describes every target."""

import re
from pathlib import Path
from typing import Final

from twisted.trial.unittest import SynchronousTestCase

MAKEFILE: Final = Path(__file__).parents[2] / "Makefile"


class HelpTests(SynchronousTestCase):
    def test_every_target_is_described(self) -> None:
        text = MAKEFILE.read_text(encoding="utf-8")
        phony = re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)
        assert phony is not None, "the Makefile declares its targets"
        described = re.findall(r'^\t@echo "make ([a-z]+)', text, re.MULTILINE)
        self.assertEqual(sorted({*phony[1].split()} - {"help"}), sorted({*described}))
