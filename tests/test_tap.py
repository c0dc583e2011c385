"""Tests of voxrec.tap."""

import io
import os
import signal
import sys
from pathlib import Path

from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from voxrec.config import Log
from voxrec.log_output import LogOutput
from voxrec.tap import Options, _build_log_output


class OptionsTests(SynchronousTestCase):
    def parse(self, text: str) -> Options:
        file = Path(self.mktemp())
        file.write_text(text)
        options = Options()
        options.parseOptions(["--config", str(file)])
        return options

    def test_the_settings_are_read(self) -> None:
        self.assertEqual(self.parse("mail: {port: 2525}").settings.mail.port, 2525)

    def test_invalid_settings_exit_with_the_status_for_a_configuration_error(self) -> None:
        stderr = io.StringIO()
        self.patch(sys, "stderr", stderr)
        error = self.assertRaises(SystemExit, self.parse, "mail: {port: 0}")
        self.assertEqual(error.code, os.EX_CONFIG)
        self.assertIn("mail.port: invalid value 0", stderr.getvalue())


class LogOutputTests(SynchronousTestCase):
    def build(self, **twistd_options: object) -> LogOutput | None:
        self.addCleanup(signal.signal, signal.SIGUSR1, signal.getsignal(signal.SIGUSR1))
        return _build_log_output(Log(), twistd_options, "berlin")

    def test_standard_output_in_the_foreground(self) -> None:
        stdout = io.TextIOWrapper(io.BytesIO(), "utf-8")
        self.patch(sys, "stdout", stdout)
        Logger(observer=self.build(nodaemon=True)).info("a file {name}", name="\udcff")
        self.assertIn(rb"a file \udcff", stdout.buffer.getvalue())

    def test_a_log_file(self) -> None:
        for options, name in (({"logfile": "a.log", "nodaemon": True}, "a.log"), ({}, "twistd.log")):
            Logger(observer=self.build(**options)).info("hello")
            self.assertIn("hello", Path(name).read_text())

    def test_another_observer_of_twistd(self) -> None:
        self.assertIsNone(self.build(syslog=True, nodaemon=True))
        self.assertIsNone(self.build(logger=object(), nodaemon=True))
