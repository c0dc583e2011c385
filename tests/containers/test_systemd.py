"""The shipped unit under a real systemd: start, HTTPS, conversions, reload, watchdog, restart and stop."""

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from twisted.trial.unittest import SynchronousTestCase

from tests.api.audio.audio_test_case import two_tones
from tests.certificates import make_pem
from tests.containers.runtime import Network
from tests.containers.systemd_host import SystemdHost, reason_to_skip
from tests.containers.tools import ROOT, systemd_image

SECONDS: Final = 90.0
WATCHDOG_SECONDS: Final = 10
"""Instead of the 30 s of the unit, so that the test need not wait as long."""
TOKEN: Final = "token-of-the-administrator-of-this-test"
URL: Final = "https://127.0.0.1"
SETTINGS: Final = {
    "  listen: tcp:8080:interface=127.0.0.1\n": (
        "  listen: ssl:443:interface=127.0.0.1:privateKey=/etc/voxrec/key.pem:certKey=/etc/voxrec/certificate.pem\n"
    ),
    "  public_url: http://127.0.0.1:8080\n": f"  public_url: {URL}\n",
    '  admin_token: ""\n': f"  admin_token: {TOKEN}\n",
    "  allowed_networks: []\n\n": '  allowed_networks: ["127.0.0.1"]\n\n',
}
"""Lines of the shipped settings, and what replaces them."""


def settings() -> str:
    """Return the shipped settings with those of this host."""
    text = (ROOT / "etc" / "voxrec.yaml").read_text()
    for line, replacement in SETTINGS.items():
        assert text.count(line) == 1, line
        text = text.replace(line, replacement)
    before, section, webhooks = text.partition("\nwebhooks:\n")
    assert '  ca_file: ""\n' in webhooks
    return before + section + webhooks.replace('  ca_file: ""\n', "  ca_file: /etc/voxrec/certificate.pem\n", 1)


class SystemdTests(SynchronousTestCase):
    def setUp(self) -> None:
        if reason := reason_to_skip():
            self.skipTest(reason)
        directory = Path(self.mktemp()).absolute()
        network = Network(directory)
        self.addCleanup(network.close)
        self.host = SystemdHost(systemd_image(), network, directory)
        self.addCleanup(self.host.remove)
        self.host.boot()
        self.write_certificate()
        self.write_settings(settings())

    def write_settings(self, text: str) -> None:
        self.host.write("/etc/voxrec/voxrec.yaml", text.encode(), 0o640, "voxrec")

    def write_certificate(self) -> None:
        """Write a new certificate of REST, which requests and webhooks trust, and its key."""
        key, certificate = make_pem("127.0.0.1")
        self.host.write("/etc/voxrec/key.pem", key, 0o640, "voxrec")
        self.host.write("/etc/voxrec/certificate.pem", certificate, 0o644, "voxrec")

    def systemctl(self, *arguments: str) -> None:
        """Run systemctl, which waits until the job has succeeded."""
        done = self.host.run("systemctl", *arguments)
        self.assertEqual(done.status, 0, f"systemctl {' '.join(arguments)}: {done.output}\n{self.host.journal()}")

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + SECONDS
        while not condition():
            self.assertLess(time.monotonic(), deadline, f"{what}\n{self.host.journal()}")
            time.sleep(0.2)

    def main_pid(self) -> int:
        return int(self.host.unit_property("MainPID"))

    def request(self, method: str, path: str, body: object = b"", **options: str) -> Any:
        return self.host.request_json(method, f"{URL}{path}", TOKEN, body, **options)

    def processes(self) -> list[str]:
        """Return the names of the processes of the account voxrec."""
        return self.host.run("ps", "-o", "comm=", "-u", "voxrec").output.split()

    def test_the_unit(self) -> None:
        self.host.write_drop_in(f"[Service]\nWatchdogSec={WATCHDOG_SECONDS}\n")
        self.assert_waits_for_space()
        self.systemctl("enable", "--now", "voxrec")
        # systemctl has waited for READY=1
        self.assertEqual(self.host.unit_property("ActiveState"), "active")
        self.assertEqual(self.host.unit_property("StatusText"), "")
        self.assert_restricted()
        recording = self.assert_https_and_conversions()
        self.assert_outgoing_tls()
        self.assert_reload()
        self.assert_invalid_reload()
        self.assert_watchdog()
        self.assert_killed()
        self.assertEqual(self.request("GET", f"/recordings/{recording}")["state"], "completed")
        self.assert_stop_and_restart(recording)

    def assert_waits_for_space(self) -> None:
        """A full file system is no reason to give up: systemd tries again until there is space."""
        self.mount_data("nr_inodes=1")
        self.systemctl("start", "--no-block", "voxrec")
        self.wait_until(lambda: self.host.unit_property("ExecMainStatus") == "75", "the status of a full file system")
        self.assertIn("No space left on device", self.host.journal())
        self.assertEqual(self.host.unit_property("StartLimitIntervalUSec"), "0")
        self.assertEqual(self.host.run("umount", "/var/lib/voxrec").output, "")
        self.wait_until(lambda: self.host.unit_property("ActiveState") == "active", "the start with space")

    def mount_data(self, options: str) -> None:
        """Mount a file system for the data directory."""
        done = self.host.run("mount", "-t", "tmpfs", "-o", f"mode=0755,{options}", "tmpfs", "/var/lib/voxrec")
        self.assertEqual(done.status, 0, done.output)

    def assert_restricted(self) -> None:
        status = self.host.run("cat", f"/proc/{self.main_pid()}/status").output
        self.assertRegex(status, r"NoNewPrivs:\t1\n")
        self.assertRegex(status, r"Seccomp:\t2\n")
        self.assertRegex(status, r"CapEff:\t0+400\n")  # CAP_NET_BIND_SERVICE

    def assert_https_and_conversions(self) -> str:
        """Import a Recording, download it in other formats, and return its id."""
        profile = self.request("PUT", "/profiles", {"name": "Front desk"})
        recording = str(self.request("PUT", "/recordings", {"profileId": profile["id"]})["id"])
        self.request("PUT", f"/recordings/{recording}/audio", two_tones(), content_type="audio/wav")
        for audio_format in ("opus", "ogg", "mp3", "flac"):
            status, audio = self.host.request("GET", f"{URL}/recordings/{recording}/audio?format={audio_format}", TOKEN)
            self.assertEqual(status, 200, f"{audio_format}: {audio!r}\n{self.host.journal()}")
            self.assertGreater(len(audio), 1000, audio_format)
        return recording

    def assert_outgoing_tls(self) -> None:
        """The receiver of the webhook is voxrec itself, which answers that it accepts no POST there."""
        webhook = self.request("PUT", "/webhooks", {"url": f"{URL}/health/live", "events": ["recording.completed"]})
        result = self.request("POST", f"/webhooks/{webhook['id']}/test")
        self.assertEqual(result["status"], 405, result)

    def assert_reload(self) -> None:
        pid = self.main_pid()
        self.write_certificate()
        self.systemctl("reload", "voxrec")
        self.wait_until(lambda: self.host.request("GET", f"{URL}/profiles", TOKEN)[0] == 200, "the new certificate")
        self.assertEqual(self.main_pid(), pid)

    def assert_invalid_reload(self) -> None:
        """The administrator sees the error, and voxrec continues with the previous settings."""
        pid = self.main_pid()
        self.write_settings(settings().replace("  ring_timeout: 60\n", "  ring_timeout: never\n"))
        done = self.host.run("systemctl", "reload", "voxrec")
        self.assertNotEqual(done.status, 0, done.output)
        self.assertIn("calls.ring_timeout", self.host.journal())
        self.write_settings(settings())
        self.assertEqual((self.main_pid(), self.host.unit_property("ActiveState")), (pid, "active"))
        self.assertEqual(self.host.request("GET", f"{URL}/profiles", TOKEN)[0], 200)

    def assert_killed(self) -> None:
        """Power loss, or the kernel's lack of memory: also PostgreSQL ends at once, and recovers."""
        pid = self.main_pid()
        self.systemctl("kill", "--signal=KILL", "voxrec")
        self.wait_until(lambda: self.main_pid() not in (0, pid), "the restart")
        self.wait_until(lambda: self.host.unit_property("ActiveState") == "active", "the next voxrec")

    def assert_watchdog(self) -> None:
        """A voxrec that does not respond is replaced."""
        pid, restarts = self.main_pid(), int(self.host.unit_property("NRestarts"))
        self.host.run("kill", f"-{signal.SIGSTOP.value}", str(pid))
        self.wait_until(lambda: self.main_pid() not in (0, pid), "the watchdog")
        self.wait_until(lambda: self.host.unit_property("ActiveState") == "active", "the next voxrec")
        self.assertEqual(int(self.host.unit_property("NRestarts")), restarts + 1)

    def assert_stop_and_restart(self, recording: str) -> None:
        self.assertIn("postgres", self.processes())
        self.systemctl("stop", "voxrec")
        self.assertEqual(self.processes(), [])
        self.assertEqual(self.host.unit_property("Result"), "success")
        self.systemctl("start", "voxrec")
        self.systemctl("restart", "voxrec")
        self.assertEqual(self.request("GET", f"/recordings/{recording}")["state"], "completed")
        self.assertNotIn("Traceback", self.host.journal())

    def test_invalid_settings(self) -> None:
        """The unit fails once, with the setting in the journal."""
        self.write_settings("rest:\n  listn: tcp:8080\n")
        self.assertNotEqual(self.host.run("systemctl", "start", "voxrec").status, 0)
        self.assertEqual(self.host.unit_property("ExecMainStatus"), "78")
        self.assertEqual(self.host.unit_property("NRestarts"), "0")
        self.assertIn("rest.listn", self.host.journal())
