"""The references in README, CONTRIBUTING and docs/ lead somewhere, and a broken one is found."""

from pathlib import Path
from typing import Final

from twisted.trial.unittest import SynchronousTestCase

from docs.extensions.references import ReferenceChecker, prose

ROOT: Final = Path(__file__).parents[2]


class ReferenceTests(SynchronousTestCase):
    def test_no_reference_is_broken(self) -> None:
        self.assertEqual([str(found) for found in ReferenceChecker(ROOT).broken()], [])

    def test_sound_references(self) -> None:
        checker = ReferenceChecker(ROOT)
        for span in (
            "voxrec/errors.py",
            "voxrec/errors.py:NotFound",
            "voxrec/web/",
            "voxrec.errors",
            "voxrec.errors.NotFound",
            "NEWS.md",
            "mail.timeout",
            "voxrec_jobs_dead",
            "voxrec_calls_total",
            "make demo",
            "voxrec jobs list --state dead",
            "recording.failed",
            "not a reference",
        ):
            self.assertEqual(checker.fault(span), "", span)

    def test_broken_references(self) -> None:
        checker = ReferenceChecker(ROOT)
        for span, reason in (
            ("voxrec/nothing.py", "no such file"),
            ("voxrec/errors.py:Nothing", "no Nothing in this file"),
            ("voxrec/errors.py:NotFound.nothing", "no NotFound.nothing in this file"),
            ("etc/voxrec.yaml:Nothing", "only a Python file can be followed by a name"),
            ("voxrec.nothing", "no such module, and no such name in one"),
            ("voxrec.errors.Nothing", ""),  # a name in capitals is no module's
            ("mail.nothing", "no such setting of mail"),
            ("voxrec_nothing", "no such metric"),
            ("make nothing", "no such target in the Makefile"),
            ("voxrec jobs nothing", "voxrec has no command nothing"),
        ):
            self.assertEqual(checker.fault(span), reason, span)

    def test_a_broken_link_is_found(self) -> None:
        root = Path(self.mktemp())
        (root / "docs").mkdir(parents=True)
        (root / "voxrec").mkdir()
        (root / "Makefile").write_text("all:\n")
        (root / "docs" / "page.md").write_text("\n[a](page.md) [b](https://example.org/) [c](gone.md#here)\n")
        (broken,) = ReferenceChecker(root).broken()
        self.assertEqual(str(broken), "docs/page.md:2: gone.md#here: no such file")

    def test_a_broken_test_module_is_found_in_a_command(self) -> None:
        root = Path(self.mktemp())
        (root / "tests").mkdir(parents=True)
        (root / "voxrec").mkdir()
        (root / "tests" / "test_a.py").write_text("class ATests: ...\n")
        (root / "README.md").write_text("    trial tests.test_a tests.test_a.ATests tests.test_b tests.test_a.BTests\n")
        broken = [found.reference for found in ReferenceChecker(root).broken()]
        self.assertEqual(broken, ["tests.test_b", "tests.test_a.BTests"])

    def test_fenced_blocks_are_skipped(self) -> None:
        text = "one\n```sh\ntwo\n```\n:::{note}\nthree\n:::\n"
        self.assertEqual(list(prose(text)), [(1, "one"), (5, ":::{note}"), (6, "three"), (7, ":::")])
