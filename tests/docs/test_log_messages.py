"""Operators learn what to do about every log message."""

from pathlib import Path
from typing import Final

from twisted.trial.unittest import SynchronousTestCase

from docs.extensions.log_messages import LogMessage, actions, log_messages_page, messages_in, mismatches
from docs.extensions.references import ReferenceChecker, code_spans

ROOT: Final = Path(__file__).parents[2]


class LogMessagesTests(SynchronousTestCase):
    def test_every_message_has_an_action(self) -> None:
        """If this fails, bring docs/log_messages.yaml up to date with the texts in the code."""
        self.assertEqual(mismatches(ROOT), [])

    def test_references_in_actions_are_sound(self) -> None:
        checker = ReferenceChecker(ROOT)
        faults = [(span, checker.fault(span)) for action in actions(ROOT).values() for span in code_spans(action)]
        self.assertEqual([fault for fault in faults if fault[1]], [])

    def test_messages_are_found_by_their_level(self) -> None:
        root = Path(self.mktemp())
        (root / "voxrec" / "sandbox").mkdir(parents=True)
        (root / "voxrec" / "sandbox" / "x.py").write_text("log.error('not the daemon')\n")
        (root / "voxrec" / "y.py").write_text(
            "self._log.warn('{a} failed', a=1)\nlog.info('fine')\nlog.failure('bad')\n"
        )
        self.assertEqual(
            messages_in(root),
            [
                LogMessage("{a} failed", "warning", "voxrec.y"),
                LogMessage("bad", "critical, with a traceback", "voxrec.y"),
            ],
        )

    def test_the_page_has_a_row_for_each_message(self) -> None:
        self.assertEqual(len(log_messages_page(ROOT).splitlines()), 2 + len(set(messages_in(ROOT))))
