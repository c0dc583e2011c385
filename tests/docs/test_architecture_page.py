"""The tables of modules in docs/architecture.md name modules that exist, each once."""

import re
from pathlib import Path
from typing import Final

from twisted.trial.unittest import SynchronousTestCase

ROOT: Final = Path(__file__).parents[2]
_SECTION: Final = re.compile(r"^### `voxrec/(\w+)/`\n(.*?)(?=^#)", re.MULTILINE | re.DOTALL)
_NAME: Final = re.compile(r"`(\w+)`")


class ModuleTableTests(SynchronousTestCase):
    def test_each_module_exists_and_is_listed_once(self) -> None:
        sections = _SECTION.findall((ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"))
        self.assertIn("calls", [package for package, _ in sections])
        for package, table in sections:
            names = _NAME.findall(table)
            directory = ROOT / "voxrec" / package
            existing = {path.stem for path in directory.rglob("*.py")} | {
                path.parent.name for path in directory.glob("*/__init__.py")
            }
            self.assertEqual(set(names) - existing, set(), package)
            self.assertEqual(len(names), len(set(names)), package)
