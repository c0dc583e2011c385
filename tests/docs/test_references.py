"""The references in README, CONTRIBUTING and docs/ lead somewhere, and a broken one is found."""

from pathlib import Path
from typing import Final

from twisted.trial.unittest import SynchronousTestCase

from docs.extensions.references import ReferenceChecker
from docs.extensions.sections import Mention, mentions_in, prose, text_files

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

    def test_a_link_to_a_missing_heading_is_found(self) -> None:
        root = Path(self.mktemp())
        (root / "docs").mkdir(parents=True)
        (root / "docs" / "page.md").write_text(
            "# A `b`: c\n[a](#a-b-c) [b](page.md#a-b-c) [c](#gone) [d](page.md#gone)\n"
        )
        self.assertEqual(
            [str(broken) for broken in ReferenceChecker(root).broken()],
            ["docs/page.md:2: #gone: no such heading", "docs/page.md:2: page.md#gone: no such heading"],
        )

    def test_mentions_of_pages_and_sections(self) -> None:
        text = (
            'as docs/a.md says; "The disk" in docs/b.md\n'
            '# see docs/c.md,\n  # "Two words", and `NEWS.md`\n'
            '"docs/d.md", "no section" other/docs/e.md\n'
            '# docs/g.md, "A name\n  # of two lines"\n'
            'action: "see docs/f.md, \\"Escaped\\"."'
        )
        self.assertEqual(
            list(mentions_in(text)),
            [
                Mention("docs/a.md", "", 1),
                Mention("docs/b.md", "The disk", 1),
                Mention("docs/c.md", "Two words", 2),
                Mention("NEWS.md", "", 3),
                Mention("docs/d.md", "", 4),
                Mention("docs/g.md", "A name of two lines", 5),
                Mention("docs/f.md", "Escaped", 7),
            ],
        )

    def test_a_mention_of_a_missing_section_is_found_in_code(self) -> None:
        root = Path(self.mktemp())
        (root / "docs").mkdir(parents=True)
        (root / "voxrec").mkdir()
        (root / "docs" / "page.md").write_text("# Page\n\n```\n# not a section\n```\n")
        (root / "voxrec" / "a.py").write_text(
            '"""See docs/page.md, "Page"."""\n# docs/page.md, "not a section"\n# docs/gone.md\n'
            '# "Page" in docs/gone. docs/page, docs/_build/html\n'
        )
        self.assertEqual(
            [str(broken) for broken in ReferenceChecker(root).broken()],
            [
                "voxrec/a.py:2: not a section: docs/page.md has no such section",
                "voxrec/a.py:3: docs/gone.md: no such file",
                "voxrec/a.py:4: docs/gone: no such file",
                "voxrec/a.py:4: docs/page: no such file",
            ],
        )

    def test_the_files_that_mention_pages_are_looked_at(self) -> None:
        files = {str(file.relative_to(ROOT)) for file in text_files(ROOT)}
        expected = {
            *("voxrec/doctor/scheduling.py", "etc/voxrec.yaml", "systemd/voxrec.service", "etc/kamailio/kamailio.cfg"),
            *("containers/Containerfile", "man/voxrec.1", "docs/log_messages.yaml", "NEWS.md", "bench/explained.md"),
        }
        self.assertEqual(expected - files, set())

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
