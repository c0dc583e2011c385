"""Tests of voxrec.doctor.asterisk: what needs no Asterisk; tests/live/test_doctor.py tests the rest with one."""

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from voxrec.doctor.asterisk import check_build, check_codecs, check_modules, check_recording_cache
from voxrec.doctor.finding import Status
from voxrec.doctor.http import Reply


class FakeAri:
    """An Asterisk with some modules, one of which does not run."""

    def get(self, path: str) -> Reply:
        states = {
            "asterisk/modules/chan_pjsip.so": "Running",
            "asterisk/modules/chan_rtp.so": "Not Running",
            "asterisk/modules/codec_ulaw.so": "Running",
        }
        return Reply(200, {"status": states[path]}) if path in states else Reply(404, None)


class ModuleTests(SynchronousTestCase):
    def test_modules(self) -> None:
        self.assertIs(check_modules(FakeAri(), ("chan_pjsip.so",)).status, Status.OK)
        missing = check_modules(FakeAri(), ("chan_pjsip.so", "chan_rtp.so", "res_stasis_snoop.so"))
        self.assertIs(missing.status, Status.FAILED)
        self.assertIn("chan_rtp.so, res_stasis_snoop.so", missing.detail)

    def test_codecs(self) -> None:
        self.assertIs(check_codecs(FakeAri(), "trunk", ["ulaw", "h264"]).status, Status.OK)
        for codecs, words in ((["ulaw", "alaw"], "not running: codec_alaw.so"), (["gsm"], "allow is ['gsm']")):
            finding = check_codecs(FakeAri(), "trunk", codecs)
            self.assertIs(finding.status, Status.FAILED)
            self.assertIn(words, finding.detail)


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


class RecordingCacheTests(SynchronousTestCase):
    """``cache_record_files`` in asterisk.conf, with which parts of recordings are lost."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        (self.directory / "voxrec").mkdir(parents=True)

    def check(self, text: str) -> Status:
        (self.directory / "asterisk.conf").write_text(text)
        return check_recording_cache(self.directory).status

    def test_values(self) -> None:
        for text, status in {
            "": Status.OK,
            "[options]\n;cache_record_files = yes\t; Cache\n": Status.OK,
            "[options]\ncache_record_files = no\n": Status.OK,
            "[options]\ncache_record_files = yes\n": Status.FAILED,
            "[options]\n  Cache_Record_Files=>on ; comment\n": Status.FAILED,
            "[options]\ncache_record_files = yes\ncache_record_files = no\n": Status.OK,
        }.items():
            self.assertIs(self.check(text), status, text)

    def test_included_files(self) -> None:
        (self.directory / "voxrec" / "asterisk.conf").write_text("cache_record_files = yes\n")
        for line in (
            '#include "voxrec/asterisk.conf"',
            "#include voxrec/*.conf ; all",
            "#tryinclude <voxrec/asterisk.conf>",
        ):
            self.assertIs(self.check(f"[options]\n{line}\n"), Status.FAILED, line)
        self.assertIs(self.check('#include "/nowhere/asterisk.conf"\n#include "nowhere.conf"\n'), Status.OK)

    def test_a_file_that_cannot_be_read(self) -> None:
        finding = check_recording_cache(self.directory)
        self.assertIs(finding.status, Status.SKIPPED)
        self.assertIn("asterisk.conf", finding.detail)
