"""Tests of the shipped Kamailio configuration without calls."""

import re
import subprocess
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from voxrec.sandbox.kamailio import CONFIGURATION, SandboxKamailio, configuration_file
from voxrec.sandbox.namespaces import MountNamespace
from voxrec.sandbox.rootfs import KAMAILIO, ensure_rootfs


class ConfigurationTests(SynchronousTestCase):
    def check(self, changed: str | None = None) -> subprocess.CompletedProcess[str]:
        """Check the shipped file, or another text, as ``kamailio -c`` does, with the files of an administrator."""
        directory = Path(self.mktemp()).absolute()
        kamailio = SandboxKamailio(directory, root := ensure_rootfs(KAMAILIO, print), [("127.0.0.1", 5070)])
        kamailio.write_configuration()
        if changed is not None:
            (directory / "etc" / CONFIGURATION).write_text(changed)
        program = ["kamailio", "-c", "-f", f"/mnt/etc/{CONFIGURATION}", "-A", 'DIRECTORY="/mnt/etc/"']
        return subprocess.run(  # noqa: S603 - no input from outside
            MountNamespace(root, directory).command(program), capture_output=True, text=True, check=False
        )

    def test_the_configuration_is_valid(self) -> None:
        completed = self.check()
        self.assertEqual(completed.returncode, 0, completed.stderr)

    def test_an_error_is_found(self) -> None:
        completed = self.check(configuration_file().read_text().replace("route(RELAY);", "route(RELAY;", 1))
        self.assertNotEqual(completed.returncode, 0)

    def test_the_extension_is_that_of_the_dialplan(self) -> None:
        dialplan = (configuration_file().parents[1] / "asterisk" / "extensions.conf").read_text()
        (extension,) = re.findall(r"^eswitch => .*/(\S+)$", dialplan, re.MULTILINE)
        self.assertIn(f"1 sip:{extension}@192.0.2.11:5060", configuration_file().read_text())

    def test_calls_leave_the_context_with_the_switch_at_once(self) -> None:
        # Asterisk evaluates a switch when a channel looks for an extension that does not exist, such as h. Each time
        # the channel waits for one thread that serves all channels: at 60 calls per second the median of the time to
        # the 200 was 0.5 s (docs/asterisk.md).
        dialplan = (configuration_file().parents[1] / "asterisk" / "extensions.conf").read_text()
        sections = dict(re.findall(r"^\[([a-z0-9-]+)\]\n(.*?)(?=^\[|\Z)", dialplan, re.MULTILINE | re.DOTALL))
        steps = {name: re.findall(r"^(?:exten| same) => (.*)$", text, re.MULTILINE) for name, text in sections.items()}
        (switching,) = [name for name, text in sections.items() if re.search(r"^e?switch =>", text, re.MULTILINE)]
        self.assertEqual(switching, "from-trunk")
        (step,) = steps[switching]
        self.assertRegex(step, r"^_\S+,1,Goto\(voxrec-incoming,\$\{STRREPLACE\(EXTEN,\\,,%2C\)\},1\)$")
        self.assertIn("Stasis(voxrec,incoming", " ".join(steps["voxrec-incoming"]))
