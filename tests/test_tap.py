"""Tests of voxrec.tap."""

import io
import os
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from voxrec.tap import Options


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
