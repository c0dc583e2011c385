"""The image of voxrec: its contents, and that it runs alone with a read-only root file system and no privileges."""

import json
import os
import re
import select
import time
from collections.abc import Mapping
from configparser import ConfigParser
from pathlib import Path
from typing import Final

from twisted.trial.unittest import SynchronousTestCase

from tests.containers.runtime import Container, Mount, Network, image_config
from tests.containers.tools import ROOT, buildah, reason_to_skip, voxrec_image

START_SECONDS: Final = 60.0
STOP_SECONDS: Final = 20.0
OWN_LAYERS_LIMIT: Final = 330_000_000  # bytes, of which botocore with the APIs of all services of AWS has 32 million
"""Size in bytes, uncompressed, of what the image adds to its base."""

TOKEN: Final = "token-of-the-administrator-of-this-test"
PROFILE: Final = {"email": "records@example.com", "remoteSipUri": "sip:+493012345@pbx.example.com", "record": True}


class ImageTestCase(SynchronousTestCase):
    """A test with the image of voxrec, a network and a directory."""

    def setUp(self) -> None:
        if reason := reason_to_skip():
            self.skipTest(reason)
        self.image = voxrec_image()
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir(parents=True)

    def network(self, *names: str) -> Network:
        network = Network(self.directory, names)
        self.addCleanup(network.close)
        return network


class RuntimeTests(ImageTestCase):
    """No process outlives its container, nor the process that has started it."""

    def start(self) -> tuple[Container, int]:
        """Start a container with two processes, and return it and a descriptor of the first one (pidfd_open(2))."""
        program = ["sh", "-c", "sleep 600 & sleep 600"]
        container = Container(self.image, self.network(), self.directory, entrypoint=program, command=[])
        self.addCleanup(container.remove)
        container.start()
        deadline = time.monotonic() + START_SECONDS
        while "sleep" not in container.run("sh", "-c", "cat /proc/[0-9]*/comm").output:
            assert container.running and time.monotonic() < deadline, container.log.read_text()
            time.sleep(0.05)
        self.assertEqual(container.run("sh", "-c", "stat -c %u /proc/1").output, "10001\n")
        descriptor = os.pidfd_open(container.pid)
        self.addCleanup(os.close, descriptor)
        return container, descriptor

    def assert_ended(self, descriptor: int) -> None:
        self.assertEqual(select.select([descriptor], [], [], STOP_SECONDS)[0], [descriptor], "process 1 still runs")

    def test_the_container_is_removed(self) -> None:
        container, process_1 = self.start()
        container.remove()
        self.assert_ended(process_1)

    def test_its_parent_is_killed(self) -> None:
        container, process_1 = self.start()
        container.kill_parent()
        self.assert_ended(process_1)


class ContentTests(ImageTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.container = Container(self.image, self.network(), self.directory)
        self.addCleanup(self.container.remove)

    def test_the_program_runs_without_privileges(self) -> None:
        user = self.container.user
        self.assertEqual((user.uid, user.gid, user.groups), (10001, 10001, [10001, 5060]))
        self.assertEqual(self.container.config["User"], "10001")

    def test_the_user_can_write_only_to_the_volumes(self) -> None:
        volumes = sorted(self.container.config["Volumes"])
        self.assertEqual(
            volumes,
            [
                "/var/lib/voxrec",
                "/var/lib/voxrec/archive",
                "/var/lib/voxrec/sounds",
                "/var/spool/asterisk/recording",
            ],
        )
        writable = self.container.shell(
            "find . -xdev ! -type l \\( -uid 10001 -perm -200 -o -gid 10001 -perm -020 -o -gid 5060 -perm -020 "
            "-o -perm -002 ! -perm -1000 \\) ! -path './proc/*' ! -path './dev/*'"
        ).split()
        self.assertEqual(sorted(path[1:] for path in writable), volumes)

    def test_the_modes_of_the_volumes(self) -> None:
        modes = self.container.shell(
            "stat --format='%n %u:%g %a' var/lib/voxrec var/lib/voxrec/archive var/lib/voxrec/sounds "
            "var/spool/asterisk/recording"
        )
        self.assertEqual(
            modes.splitlines(),
            [
                "var/lib/voxrec 10001:10001 755",
                "var/lib/voxrec/archive 10001:10001 750",
                # Asterisk, which is another user, reads the announcements
                "var/lib/voxrec/sounds 10001:10001 755",
                "var/spool/asterisk/recording 5060:5060 2770",
            ],
        )

    def test_no_tools_of_the_build_and_no_package_lists_remain(self) -> None:
        found = self.container.shell(
            "for name in pip pip3 gcc cc make git curl wget; do find usr opt -name $name -path '*bin/*'; done\n"
            "find opt usr -type d \\( -name pip -o -name setuptools -o -name ensurepip \\) -path '*python3*'\n"
            "for path in src tools root/.cache etc/pip.conf run/secrets; do ls -d $path 2> /dev/null || true; done\n"
            "find var/lib/apt/lists -type f"
        )
        self.assertEqual(found, "")

    def test_nothing_of_the_sources_but_what_is_installed(self) -> None:
        found = self.container.shell(
            "find opt -name '*.dist-info' -name 'voxrec*' -maxdepth 6 | wc -l; "
            "find . -xdev -path ./proc -prune -o -name test_config.py -print -o -name Makefile -path '*voxrec*' -print"
        )
        self.assertEqual(found.split(), ["1"])

    def test_no_trace_of_the_configuration_of_the_build(self) -> None:
        """The configuration of pip and the certificate that only this build needed are not in the image."""
        inspected = buildah("inspect", "--type=image", self.image)
        for word in ("pip.conf=", "index-url", "/run/host"):
            self.assertNotIn(word, inspected)
        self.assertEqual(self.container.shell("grep -rl /run/host etc opt/voxrec || true"), "")
        # the mount points that buildah leaves are empty
        self.assertEqual(self.container.shell("find run/host -type f -size +0 2> /dev/null || true"), "")

    def test_the_size(self) -> None:
        manifest = json.loads(json.loads(buildah("inspect", "--type=image", self.image))["Manifest"])
        _base, *own = [layer["size"] for layer in manifest["layers"]]
        self.assertLess(sum(own), OWN_LAYERS_LIMIT)

    def test_the_configuration(self) -> None:
        config = image_config(self.image)
        self.assertEqual(config["StopSignal"], "SIGTERM")
        self.assertEqual(config["Entrypoint"][0], "twistd")
        self.assertEqual(config["Healthcheck"]["Test"], ["CMD", "voxrec-healthcheck"])
        self.assertIn("8080/tcp", config["ExposedPorts"])
        self.assertFalse([line for line in config["Env"] if re.search("PASSWORD|TOKEN|SECRET|DSN", line)])

    def test_the_labels(self) -> None:
        setup = ConfigParser(interpolation=None)
        setup.read(ROOT / "setup.cfg")
        labels = image_config(self.image)["Labels"]
        self.assertEqual(labels["org.opencontainers.image.version"], setup["metadata"]["version"])
        self.assertEqual(labels["org.opencontainers.image.description"], setup["metadata"]["description"])
        self.assertEqual(labels["org.opencontainers.image.licenses"], setup["metadata"]["license"])

    def test_the_default_base_is_the_official_image(self) -> None:
        for name, tag in (("Containerfile", "bookworm-slim"), ("Containerfile.asterisk", "sid-slim")):
            text = (ROOT / "containers" / name).read_text()
            self.assertIn(f"\nARG DEBIAN_TAG={tag}\nARG BASE=docker.io/library/debian:${{DEBIAN_TAG}}\n", text)
            self.assertEqual(set(re.findall(r"^FROM (\S+)", text, re.MULTILINE)), {"${BASE}"})


class StandaloneTests(ImageTestCase):
    """The image without Asterisk and with the embedded PostgreSQL: ``docker run --read-only --tmpfs /tmp``."""

    def setUp(self) -> None:
        super().setUp()
        self.net = self.network()
        self.container = self.make_container()

    def make_container(self, environment: Mapping[str, str] | None = None) -> Container:
        """Return a container with the volumes of this test."""
        secrets = self.directory / "secrets"
        secrets.mkdir(exist_ok=True)
        (secrets / "admin_token").write_text(f"{TOKEN}\n")
        mounts: list[Mount] = []
        container = Container(
            self.image,
            self.net,
            self.directory,
            mounts=mounts,
            environment={"VOXREC__REST__ADMIN_TOKEN_FILE": "/run/secrets/admin_token", **(environment or {})},
        )
        self.addCleanup(container.remove)
        for number, path in enumerate(sorted(container.config["Volumes"])):
            mounts.append(Mount(container.make_volume(path, self.directory / f"volume-{number}"), path))
        mounts.append(Mount(None, "/tmp", "mode=1777"))
        mounts.append(Mount(None, "/run", "mode=0755"))
        mounts.append(Mount(self.directory / "secrets", "/run/secrets", "ro"))
        return container

    def request(self, method: str, path: str, body: object = None) -> tuple[int, str]:
        result = self.net.request(method, f"http://127.0.0.1:8080{path}", TOKEN, body)
        return result.status, result.output

    def test_it_runs_and_stops(self) -> None:
        """REST works although Asterisk is missing, which the health check reports; the data outlive the container."""
        self.container.start()
        self.await_rest(self.container)
        status = self.container.run("cat", "/proc/1/cmdline", "/proc/1/status").output
        self.assertIn("twistd\0--nodaemon", status)
        self.assertRegex(status, r"Uid:\t10001\t10001\t10001")
        self.assertRegex(status, r"CapBnd:\t0+\n")
        self.assertRegex(status, r"NoNewPrivs:\t1\n")
        self.assertNotEqual(self.container.run("touch", "/opt/voxrec/file").status, 0)

        unhealthy = self.container.check_health(0)
        self.assertEqual(unhealthy.status, 1)
        self.assertIn("503", unhealthy.output)
        self.assertIn("asterisk", unhealthy.output)

        status_code, body = self.request("PUT", "/profiles", PROFILE)
        self.assertEqual(status_code, 201, body)
        profile = json.loads(body)["id"]
        self.assertEqual(self.container.run("voxrec", "token", "list").status, 0)
        # Asterisk, which is another user, reads the announcement
        self.assertEqual(
            self.container.run("stat", "-c", "%a", "/var/lib/voxrec/sounds/announcement.wav").output, "644\n"
        )

        self.assertEqual(self.container.stop(STOP_SECONDS), 0)
        log = self.container.log.read_text()
        self.assertNotIn("Traceback", log)
        self.assertNotIn("Read-only file system", log)

        following = self.make_container()
        following.start()
        self.await_rest(following)
        self.assertEqual(self.request("GET", f"/profiles/{profile}")[0], 200)
        self.assertEqual(following.stop(STOP_SECONDS), 0)

    def test_invalid_settings(self) -> None:
        """It ends with status 78 and names the variable."""
        container = self.make_container({"VOXREC__REST__LISTN": "tcp:8080"})
        container.start()
        self.assertEqual(container.wait(START_SECONDS), 78)
        self.assertIn("VOXREC__REST__LISTN: unknown setting; expected one of", container.log.read_text())

    def await_rest(self, container: Container) -> None:
        deadline = time.monotonic() + START_SECONDS
        while self.request("GET", "/profiles")[0] != 200:
            assert container.running and time.monotonic() < deadline, container.log.read_text()
            time.sleep(0.2)
