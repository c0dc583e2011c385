"""Tests of voxrec.doctor.asterisk: what needs no Asterisk; tests/live/test_doctor.py tests the rest with one."""

from twisted.trial.unittest import SynchronousTestCase

from voxrec.doctor.asterisk import check_build, check_modules
from voxrec.doctor.finding import Status
from voxrec.doctor.http import Reply


class FakeAri:
    """An Asterisk with some modules, one of which does not run."""

    def get(self, path: str) -> Reply:
        states = {"asterisk/modules/chan_pjsip.so": "Running", "asterisk/modules/chan_rtp.so": "Not Running"}
        return Reply(200, {"status": states[path]}) if path in states else Reply(404, None)


class ModuleTests(SynchronousTestCase):
    def test_modules(self) -> None:
        self.assertIs(check_modules(FakeAri(), ("chan_pjsip.so",)).status, Status.OK)
        missing = check_modules(FakeAri(), ("chan_pjsip.so", "chan_rtp.so", "res_stasis_snoop.so"))
        self.assertIs(missing.status, Status.FAILED)
        self.assertIn("chan_rtp.so, res_stasis_snoop.so", missing.detail)


class BuildTests(SynchronousTestCase):
    def test_known_faults_of_versions(self) -> None:
        for version, expected in {
            "22.10.1~dfsg+~cs6.17.60671434": ["asterisk decoders"],
            "20.6.0~dfsg+~cs6.13.40431414": ["asterisk decoders"],
            "20.5.2~dfsg+~cs6.13.40431414": [],
            "22.10.1+dfsg+~cs6.17.60671434-1+0noplc1": [],
            "22.10.1": [],
            "20.2.0": [],
            "20.1.0": ["asterisk snoops"],
            "18.17.0": [],
            "18.16.0": ["asterisk snoops"],
            "19.8.1": ["asterisk snoops"],
            "16.28.0~dfsg-0+deb11u4": ["asterisk snoops"],
            "certified-20.7-cert1": [],
            "GIT-master-0123abc": [],
        }.items():
            findings = list(check_build(version))
            self.assertEqual([finding.check for finding in findings], expected, version)
            for finding in findings:
                self.assertIs(finding.status, Status.WARNING)
                self.assertIn(version, finding.detail)
