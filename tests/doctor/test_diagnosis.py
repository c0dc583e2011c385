"""Tests of voxrec.doctor.diagnosis: a settings file that cannot be used; tests/live/test_doctor.py tests the rest."""

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from voxrec.doctor.diagnosis import diagnose
from voxrec.doctor.finding import Finding, Status


class SettingsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.file = Path(self.mktemp())

    def diagnose(self) -> Finding:
        (finding,) = diagnose(self.file)
        self.assertEqual((finding.check, finding.status), ("settings", Status.FAILED))
        return finding

    def test_no_file(self) -> None:
        self.assertIn("--config", self.diagnose().remedy)

    def test_a_file_that_this_user_may_not_read(self) -> None:
        def refuse(*_: object, **__: object) -> str:
            raise PermissionError(13, "Permission denied", str(self.file))

        self.patch(Path, "read_text", refuse)
        self.assertIn("run voxrec doctor as root", self.diagnose().remedy)

    def test_invalid_settings(self) -> None:
        for text, words in (("mail: {port: 0}", "mail.port"), ("mail: [", "invalid YAML")):
            self.file.write_text(text)
            finding = self.diagnose()
            self.assertIn(words, finding.detail)
            self.assertIn(f"correct {self.file}", finding.remedy)
