"""Tests of voxrec.log_output."""

import io
import os
from pathlib import Path
from typing import Any

import msgspec
from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from voxrec.log_output import LogOutput, is_journal


class LogOutputTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.stream = io.StringIO()

    def logger(self, **settings: Any) -> Logger:
        self.output = LogOutput(self.stream, **settings)
        return Logger("voxrec.test", observer=self.output)

    def log_failure(self, log: Logger) -> None:
        try:
            raise RuntimeError("a\nb")
        except RuntimeError:
            log.failure("call {call} failed", call=7)

    def lines(self) -> list[str]:
        return self.stream.getvalue().splitlines()


class TextTests(LogOutputTestCase):
    def test_a_line_has_time_logger_and_level(self) -> None:
        self.logger().info("call {call}: over", call=7)
        line = r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} \[voxrec\.test#info\] call 7: over\n\Z"
        self.assertRegex(self.stream.getvalue(), line)

    def test_a_message_of_several_lines_cannot_be_mistaken_for_several_messages(self) -> None:
        self.logger().warn("a\n2026-01-01T00:00:00+0000 [voxrec#info] forged")
        first, second = self.lines()
        self.assertTrue(first.endswith("#warn] a"), first)
        self.assertTrue(second.startswith("\t"), second)

    def test_a_failure_has_a_traceback(self) -> None:
        self.log_failure(self.logger())
        self.assertIn("#critical] call 7 failed", self.lines()[0])
        self.assertIn("\tTraceback (most recent call last):", self.lines())
        self.assertIn("builtins.RuntimeError: a", self.stream.getvalue())

    def test_events_without_text_are_not_written(self) -> None:
        self.logger().info("")
        self.assertEqual(self.stream.getvalue(), "")


class LevelTests(LogOutputTestCase):
    def log_all(self, log: Logger) -> None:
        for write in (log.debug, log.info, log.warn, log.error, log.critical):
            write(write.__name__)

    def test_less_severe_messages_are_not_written(self) -> None:
        for level, count in (("debug", 5), ("info", 4), ("warning", 3), ("error", 2)):
            self.stream = io.StringIO()
            self.log_all(self.logger(level=level))
            self.assertEqual(len(self.lines()), count, level)

    def test_the_level_can_change(self) -> None:
        log = self.logger(level="error")
        log.info("one")
        self.output.configure("debug", "json")
        log.debug("two")
        self.assertEqual([msgspec.json.decode(line)["message"] for line in self.lines()], ["two"])


class JournalTests(LogOutputTestCase):
    def test_each_level_has_its_priority_and_no_timestamp(self) -> None:
        log = self.logger(level="debug", journal=True)
        for write in (log.debug, log.info, log.warn, log.error, log.critical):
            write("x")
        self.assertEqual(
            self.lines(),
            [
                "<7>[voxrec.test#debug] x",
                "<6>[voxrec.test#info] x",
                "<4>[voxrec.test#warn] x",
                "<3>[voxrec.test#error] x",
                "<2>[voxrec.test#critical] x",
            ],
        )

    def test_every_line_of_a_message_has_the_priority(self) -> None:
        log = self.logger(journal=True)
        self.log_failure(log)
        log.warn("a\n<0>forged")
        *traceback, first, second = self.lines()
        self.assertEqual({line[:3] for line in traceback}, {"<2>"})
        self.assertEqual((first, second), ("<4>[voxrec.test#warn] a", "<4>\t<0>forged"))

    def test_json_has_the_priority_too(self) -> None:
        self.logger(journal=True, log_format="json").error("x")
        self.assertTrue(self.stream.getvalue().startswith('<3>{"time":'))

    def test_the_journal_is_recognised_by_its_file(self) -> None:
        with Path(self.mktemp()).open("w") as journal, Path(self.mktemp()).open("w") as other:
            status = os.fstat(journal.fileno())
            self.patch(os, "environ", {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})
            self.assertTrue(is_journal(journal))
            self.assertFalse(is_journal(other))  # for example, a file to which a shell redirects
            self.assertFalse(is_journal(self.stream))
            self.patch(os, "environ", {})
            self.assertFalse(is_journal(journal))


class JsonTests(LogOutputTestCase):
    def entries(self) -> list[dict[str, Any]]:
        return [msgspec.json.decode(line) for line in self.lines()]

    def test_an_entry(self) -> None:
        self.logger(log_format="json").warn("call {call}: {error}", call=7, error=ValueError("x\ny"), secret="s")
        [entry] = self.entries()
        self.assertRegex(entry.pop("time"), r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\Z")
        self.assertEqual(
            entry,
            {
                "level": "warning",
                "logger": "voxrec.test",
                "message": "call 7: x\ny",
                "fields": {"call": 7, "error": "x\ny"},
            },
        )

    def test_a_failure_is_one_line(self) -> None:
        self.log_failure(self.logger(log_format="json"))
        [entry] = self.entries()
        self.assertEqual((entry["level"], entry["message"]), ("critical", "call 7 failed"))
        self.assertIn("RuntimeError", entry["traceback"])

    def test_invalid_formats_and_values_do_not_lose_the_event(self) -> None:
        log = self.logger(log_format="json")
        log.info("{", a=1)
        log.info("{a}", a=float("nan"))
        log.info("{a}", a="\udcff")
        self.assertEqual(len(self.entries()), 3)


class NodeTests(LogOutputTestCase):
    def test_text_has_the_node_after_the_time(self) -> None:
        self.logger(node="berlin").info("call {call}: over", call=7)
        line = r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} berlin \[voxrec\.test#info\] call 7: over\n\Z"
        self.assertRegex(self.stream.getvalue(), line)

    def test_text_for_the_journal_begins_with_the_node(self) -> None:
        self.logger(node="berlin", journal=True).info("call {call}: over", call=7)
        self.assertEqual(self.stream.getvalue(), "<6>berlin [voxrec.test#info] call 7: over\n")

    def test_json_has_the_node(self) -> None:
        self.logger(node="berlin", log_format="json").info("call {call}: over", call=7)
        self.assertEqual(msgspec.json.decode(self.stream.getvalue())["node"], "berlin")
