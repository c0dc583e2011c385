"""Lines of the documentation, and comments in the files of etc/ and systemd/, have at most 120 characters."""

from pathlib import Path
from typing import Final

from twisted.trial.unittest import SynchronousTestCase

from docs.extensions.references import markdown_files
from docs.extensions.sections import prose

ROOT: Final = Path(__file__).parents[2]
WIDTH: Final = 120


class LineWidthTests(SynchronousTestCase):
    def test_markdown(self) -> None:
        """Rows of tables cannot be wrapped, and fenced blocks show what a program prints."""
        pages = [*markdown_files(ROOT), ROOT / "bench" / "explained.md"]
        too_long = [
            f"{page.relative_to(ROOT)}:{number}"
            for page in pages
            for number, line in prose(page.read_text(encoding="utf-8"))
            if len(line) > WIDTH and not line.lstrip().startswith("|")
        ]
        self.assertEqual(too_long, [])

    def test_comments_of_settings_and_units(self) -> None:
        files = [file for name in ("etc", "systemd") for file in (ROOT / name).rglob("*") if file.suffix != ".json"]
        too_long = [
            f"{file.relative_to(ROOT)}:{number}"
            for file in files
            if file.is_file()
            for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1)
            if len(line) > WIDTH and line.lstrip().startswith("#")
        ]
        self.assertEqual(too_long, [])
