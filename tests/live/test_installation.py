"""The README's steps, on the configuration that Debian's Asterisk package installs."""

import re
import sys
from pathlib import Path
from typing import Final

from twisted.trial.unittest import SynchronousTestCase

from tests.live.live_test_case import rootfs_of
from tests.live.stock_asterisk import ROOT, StockAsterisk
from voxrec.sandbox.rootfs import ASTERISK_16, ASTERISK_22

_ARI_REQUEST: Final = """\
import base64, sys, urllib.error, urllib.request
request = urllib.request.Request("http://127.0.0.1:8088/ari/asterisk/info")
request.add_header("Authorization", "Basic " + base64.b64encode(f"voxrec:{sys.argv[1]}".encode()).decode())
try:
    print(urllib.request.urlopen(request, timeout=5).status)
except urllib.error.HTTPError as error:
    print(error.code)
"""


def readme_commands(containing: str) -> str:
    """Return the indented commands of the README's installation among which one contains a text."""
    installation = (ROOT / "README.md").read_text().partition("\n## Installation\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"(?:^ {7}.*\n)+", installation, re.MULTILINE)
    (block,) = [block for block in blocks if containing in block]
    return "\n".join(line[7:] for line in str(block).splitlines())


class ConfigurationTests(SynchronousTestCase):
    recipe = ASTERISK_22

    def setUp(self) -> None:
        if rootfs_of(self.recipe) is None:
            self.skipTest("the host's own Asterisk has no stock configuration")
        self.asterisk = StockAsterisk(Path(self.mktemp()), self.recipe)
        self.addCleanup(self.asterisk.stop)

    def assert_configured(self) -> None:
        """Assert that ARI, the trunk and the dialplan work."""
        password = self.asterisk.path("/etc/voxrec/asterisk.secret").read_text()
        self.assertEqual(self.ari_status(password), "200")
        self.assertEqual(self.ari_status("wrong"), "401")
        self.assertRegex(self.asterisk.console("ari show status"), r"Enabled: +Yes")
        self.assertRegex(self.asterisk.console("ari show users"), r"No +voxrec")
        http = self.asterisk.console("http show status")
        self.assertIn("127.0.0.1:8088", http)
        self.assertIn("/ari/", http)
        endpoint = self.asterisk.console("pjsip show endpoint trunk")
        self.assertRegex(endpoint, r"identify_by +: ip\n")
        self.assertRegex(endpoint, r"Match: 192\.0\.2\.10/32")
        self.assertRegex(self.asterisk.console("pjsip show settings"), r"endpoint_identifier_order +: ip\n")
        self.assertRegex(self.asterisk.console("pjsip show transports"), r"transport-udp +udp .* 0\.0\.0\.0:5060")
        self.assertIn("Goto(voxrec-incoming,", self.asterisk.console("dialplan show 0123@from-trunk"))
        incoming = self.asterisk.console("dialplan show 0123@voxrec-incoming")
        self.assertIn("Stasis(voxrec,incoming,${VOXREC_ARGS})", incoming)
        self.assertIn("Goto(voxrec-transferred,target", self.asterisk.console("dialplan show 0123@voxrec-transfer"))
        self.assertIn("Stasis(voxrec,transferred", self.asterisk.console("dialplan show target@voxrec-transferred"))

    def ari_status(self, password: str) -> str:
        """Return the HTTP status of an authenticated ARI request."""
        return self.asterisk.run_on_host(sys.executable, "-c", _ARI_REQUEST, password).strip()

    def test_the_steps_of_the_readme(self) -> None:
        self.asterisk.run_shell(readme_commands("/var/spool/asterisk/recording").partition("\n")[2])
        steps = readme_commands("etc/asterisk/*.conf")
        self.asterisk.run_shell(f"{steps}\n{steps}")  # an upgrade repeats them
        self.asterisk.start()
        self.assert_configured()
        secret = self.asterisk.path("/etc/voxrec/asterisk.secret").stat()
        self.assertEqual(secret.st_mode & 0o777, 0o640)

    def test_the_contents_appended_instead_of_included(self) -> None:
        steps = readme_commands("etc/asterisk/*.conf")
        include = "printf '\\n#include \"voxrec/%s.conf\"\\n' $file >>"
        self.assertIn(include, steps)
        self.asterisk.run_shell(steps.replace(include, "cat etc/asterisk/$file.conf >>"))
        self.asterisk.start()
        self.assert_configured()


class Asterisk16ConfigurationTests(ConfigurationTests):
    recipe = ASTERISK_16
